//! Limits of templates, checked before parsing: parser and compiled template recurse as deep as the template nests,
//! and a stack overflow aborts the process.

/// Maximum bytes of one template.
pub(super) const MAX_TEMPLATE_BYTES: usize = 16 << 10;

/// Maximum tags (`{{ … }}` and `{% … %}`) of one template: a chain of `elif` nests as deep as it is long.
pub(super) const MAX_TAGS: usize = 100;

/// Maximum tokens of one tag: an expression nests no deeper.
pub(super) const MAX_WORDS_IN_A_TAG: usize = 100;

/// Allowed statements. The others bind names to values, and lists built from named lists can exceed all memory; an
/// alert text needs none of them.
const STATEMENTS: [&str; 6] = ["if", "elif", "else", "endif", "for", "endfor"];

/// Words before a bracket that are not calls.
const NO_CALLS: [&str; 8] = ["in", "not", "and", "or", "is", "if", "elif", "else"];

/// Checks a template, and returns which limit it exceeds.
pub(super) fn check(template: &str) -> Result<(), String> {
    if template.len() > MAX_TEMPLATE_BYTES {
        return Err(format!("it has more than {MAX_TEMPLATE_BYTES} bytes"));
    }
    let mut rest = template;
    let mut tags = 0;
    while let Some((tag, is_statement)) = next_tag(&mut rest) {
        let words = tag.trim_start_matches(['-', '+']).trim_start();
        let statement: String = words.chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
        if is_statement && !STATEMENTS.contains(&statement.as_str()) {
            return Err(format!("`{statement}` is not supported; supported are {}", STATEMENTS.join(", ")));
        }
        tags += 1;
        if tags > MAX_TAGS {
            return Err(format!("it has more than {MAX_TAGS} tags"));
        }
        rest = end_of_tag(tag)?;
    }
    Ok(())
}

/// Returns what follows the opening of the next tag, and whether the tag is a statement; skips comments.
fn next_tag<'t>(rest: &mut &'t str) -> Option<(&'t str, bool)> {
    loop {
        let opening =
            ["{{", "{%", "{#"].into_iter().filter_map(|opening| Some((rest.find(opening)?, opening))).min()?;
        let (at, opening) = opening;
        let inside = rest.get(at + opening.len()..)?;
        if opening != "{#" {
            return Some((inside, opening == "{%"));
        }
        *rest = inside.split_once("#}")?.1;
    }
}

/// Returns what follows a tag. As in the parser, a tag ends outside quotes and brackets. Quoted text counts as tokens
/// too.
fn end_of_tag(tag: &str) -> Result<&str, String> {
    let mut inside = Inside::default();
    let (mut words, mut in_word) = (0, false);
    for (at, letter) in tag.char_indices() {
        let here = tag.get(at..).unwrap_or_default();
        if inside.is_nothing() && (here.starts_with("}}") || here.starts_with("%}")) {
            return Ok(here.get(2..).unwrap_or_default());
        }
        let is_of_a_word = letter.is_alphanumeric() || letter == '_';
        let goes_on = is_of_a_word && in_word;
        words += usize::from(!goes_on && !letter.is_whitespace());
        in_word = is_of_a_word;
        if words > MAX_WORDS_IN_A_TAG {
            return Err(format!("it has a tag with more than {MAX_WORDS_IN_A_TAG} tokens"));
        }
        inside.step(tag.get(..at).unwrap_or_default(), letter)?;
    }
    Ok("")
}

/// Position within a tag.
#[derive(Default)]
struct Inside {
    quote: Option<char>,
    is_escaped: bool,
    /// As the parser counts: an excess of closing brackets never ends.
    balance: i64,
    /// `(` of a call, `,` of grouping brackets, `[` of lists and maps.
    open: Vec<char>,
}

impl Inside {
    fn is_nothing(&self) -> bool {
        self.quote.is_none() && self.balance == 0
    }

    /// Rejects lists built from lists: they are lazy, so nothing bounds their size once they are rendered.
    fn step(&mut self, before: &str, letter: char) -> Result<(), String> {
        if let Some(open) = self.quote {
            let ends = letter == open && !self.is_escaped;
            self.is_escaped = letter == '\\' && !self.is_escaped;
            self.quote = self.quote.filter(|_| !ends);
            return Ok(());
        }
        match letter {
            '"' | '\'' => self.quote = Some(letter),
            '*' => return Err("`*` is not supported".to_owned()),
            ',' if !matches!(self.open.last(), Some('(' | '[')) => {
                return Err("a list without square brackets is not supported".to_owned());
            }
            _ if letter.is_alphabetic() && self.open.contains(&'[') => {
                return Err("square brackets and braces may contain only numbers and quoted strings".to_owned());
            }
            '(' => self.opens(if is_call(before) { '(' } else { ',' }),
            '[' | '{' => self.opens('['),
            ')' | ']' | '}' => {
                self.balance -= 1;
                self.open.pop();
            }
            _ => {}
        }
        Ok(())
    }

    fn opens(&mut self, kind: char) {
        self.balance += 1;
        self.open.push(kind);
    }
}

fn is_call(before: &str) -> bool {
    let word = before.trim_end().rsplit(|letter: char| !letter.is_alphanumeric() && letter != '_').next();
    word.is_some_and(|word| !word.is_empty() && !NO_CALLS.contains(&word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_ends_where_the_parser_sees_its_end() {
        let words = |count: usize| "a ".repeat(count);
        let many = words(MAX_WORDS_IN_A_TAG + 1);
        for fine in [
            format!("{many} {{{{ queue }}}} {many}"),
            format!("{{{{ '}}}}' }}}} {many} {{{{ {{'a': {{'b': 1}}}} }}}} {many}"),
            format!("{{# {{{{ {many} #}} {{% if queue %}}{many}{{% endif %}}"),
            "{% if queue in ['a', 'b'] and (share or value) %}{{ queue|replace('-', ' ') }}{% endif %}".to_owned(),
            "{{ (value|split(' '))[0] }} {%- for n in range(3) -%}{{ n }}{% endfor %}".to_owned(),
        ] {
            assert_eq!(check(&fine), Ok(()), "{fine}");
        }
        for too_much in [
            format!("{{{{ {many} }}}}"),
            format!("{{{{ ') }}}}' {many} }}}}"),
            format!("{{{{ \"}}}}\" {many} }}}}"),
            format!("{{% raw %}}{{{{ ' {{% endraw %}} {{{{ '{many}' }}}}"),
            "{{ queue }}".repeat(MAX_TAGS + 1),
            words(MAX_TEMPLATE_BYTES),
            "{% set a = 1 %}".to_owned(),
            "{{ 'a' * 3 }}".to_owned(),
            "{{ [queue] }}".to_owned(),
            "{{ {'a': queue} }}".to_owned(),
            "{{ (queue, queue) }}".to_owned(),
            "{% if queue in (queue, queue) %}{% endif %}".to_owned(),
            "{% for a, b in queue %}{% endfor %}".to_owned(),
        ] {
            assert!(check(&too_much).is_err(), "{too_much}");
        }
    }
}
