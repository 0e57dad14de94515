//! A setting that is either a text or a map of keys.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};

/// Parses either; the error for anything else names what is `expected`. Errors in keys keep their own locations.
pub(crate) fn text_or_keys<'de, D: Deserializer<'de>, K: Deserialize<'de>, T>(
    deserializer: D,
    expected: &'static str,
    of_text: fn(String) -> T,
    of_keys: fn(K) -> T,
) -> Result<T, D::Error> {
    deserializer.deserialize_any(Forms { expected, of_text, of_keys })
}

struct Forms<K, T> {
    expected: &'static str,
    of_text: fn(String) -> T,
    of_keys: fn(K) -> T,
}

impl<'de, K: Deserialize<'de>, T> Visitor<'de> for Forms<K, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        Ok((self.of_text)(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        K::deserialize(MapAccessDeserializer::new(map)).map(self.of_keys)
    }
}
