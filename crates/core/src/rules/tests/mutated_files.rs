//! Broken rule files: valid files with one change, of many kinds. Each is rejected with a position in the text, or is
//! still valid; none panics.

use super::*;

const PACKS: [&str; 2] =
    [include_str!("../../../../../alerts/default.yaml"), include_str!("../../../../../alerts/queues.yaml")];

/// Words that have a meaning elsewhere in a rule, or none at all.
const WORDS: [&str; 24] = [
    "", "-1", "0", "1e400", ".nan", "12", "40%", "-40%", "30m", "30 m", "-5m", "$100", "[", "]", "{", "}", "{{ value",
    "&x", "*x", "!!str 1", "null", "true", "3 of 2", "\u{0}",
];

/// Pseudo-random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// The text with one change.
fn broken(text: &str, dice: &mut Dice) -> String {
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let candidates: Vec<usize> = (0..lines.len()).filter(|line| lines[*line].contains(':')).collect();
    let at = candidates[dice.roll(candidates.len())];
    let line = lines[at].clone();
    let (key, value) = line.split_once(':').unwrap();
    let word = WORDS[dice.roll(WORDS.len())];
    lines[at] = match dice.roll(7) {
        // The value is replaced, the key misspelt, the line indented, truncated, duplicated or removed.
        0 | 1 => format!("{key}: {word}"),
        2 => format!("{key}x:{value}"),
        3 => format!("   {line}"),
        4 => line.chars().take(1 + dice.roll(line.chars().count())).collect(),
        5 => format!("{line}\n{line}"),
        _ => String::new(),
    };
    lines.join("\n")
}

#[test]
fn hundreds_of_broken_files_are_refused_where_they_are_broken() {
    let mut refused = BTreeSet::new();
    for seed in 0..800 {
        let mut dice = Dice(seed);
        let text = broken(PACKS[dice.roll(PACKS.len())], &mut dice);
        let Err(problems) = parse_rules("broken.yaml", &text) else { continue };
        let lines = text.lines().count();
        let mut reported = 0;
        for (line, column, message) in problems.iter() {
            reported += 1;
            assert!(
                (1..=lines + 1).contains(&line) && column >= 1,
                "seed {seed}: {line}:{column} of {lines}: {message}"
            );
            assert!(!message.trim().is_empty(), "seed {seed}");
        }
        assert!(reported > 0, "seed {seed}: refused without a word");
        assert!(problems.to_string().contains("broken.yaml:"), "seed {seed}: {problems}");
        refused.insert(text);
    }
    assert!(refused.len() >= 200, "{} different broken files", refused.len());
}
