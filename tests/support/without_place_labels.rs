//! The text of `/metrics`, for comparisons.

/// Removes account and region of the simulated target, which every series has.
pub fn without_place(text: &str) -> String {
    let place = "account=\"123456789012\",region=\"us-east-1\"";
    text.replace(&format!(",{place}"), "").replace(&format!("{{{place}}}"), "")
}
