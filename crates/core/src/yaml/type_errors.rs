//! Rewords serde's type errors, without the value: it may be a secret.

/// Rewrites `invalid type: string "five", expected f64`; leaves other messages unchanged.
pub(super) fn of_type(message: &str) -> String {
    if message.starts_with("invalid length") && message.contains("expected struct") {
        return "invalid type: a list, expected keys with values, `key: value`".to_owned();
    }
    let found = ["invalid type: ", "invalid value: "].into_iter().find_map(|opening| message.strip_prefix(opening));
    let Some((found, expected)) = found.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return message.to_owned();
    };
    format!("invalid type: {}, expected {}", given(found), wanted(expected))
}

fn wanted(expected: &str) -> &str {
    match expected {
        "f64" | "f32" => "a number",
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number, 0 or more",
        "a borrowed string" | "string" => "a string",
        "a boolean" => "true or false",
        "a sequence" => "a list of items, each starting with `- `",
        "a map" => "keys with values, `key: value`",
        other if other.starts_with("struct ") => "keys with values, `key: value`",
        other => other,
    }
}

fn given(found: &str) -> &'static str {
    let kinds = [
        ("string", "a string"),
        ("integer", "a number"),
        ("floating point", "a number"),
        ("boolean", "true or false"),
        ("map", "keys with values"),
        ("sequence", "a list"),
    ];
    let kind = kinds.into_iter().find(|(opening, _)| found.starts_with(opening));
    kind.map_or("nothing", |(_, words)| words)
}
