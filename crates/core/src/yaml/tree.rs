//! A YAML document as a tree with source positions.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::Write;
use std::ops::Range;

use saphyr_parser::{Event, Parser, ScalarStyle, Span};
use serde_json::{Number, Value};

use crate::yaml::problem_excerpts::Problem;

/// Maximum nesting depth.
const MAX_DEPTH: usize = 32;

/// Maximum file size.
const MAX_BYTES: usize = 1 << 20;

/// Maximum number of values and keys.
const MAX_NODES: usize = 50_000;

/// Path from the root to a node.
pub(super) type Path = Vec<Step>;

/// Maps paths in a pruned tree to the full tree: the remaining items of each list that lost some.
#[derive(Debug, Default)]
pub(super) struct Origin(BTreeMap<Path, Vec<usize>>);

impl Origin {
    /// The full tree's path for a path in the pruned one.
    pub(super) fn of(&self, path: &[Step]) -> Path {
        let mut origin = Path::new();
        for step in path {
            let index = |at: usize| self.0.get(&origin).and_then(|left| left.get(at)).copied().unwrap_or(at);
            let step = match step {
                Step::Index(at) => Step::Index(index(*at)),
                Step::Key(_) => step.clone(),
            };
            origin.push(step);
        }
        origin
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

/// The whole document.
#[derive(Debug)]
pub(super) struct Tree {
    root: Node,
}

#[derive(Debug)]
struct Node {
    range: Range<usize>,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Scalar(Value),
    Sequence(Vec<Node>),
    Mapping(Vec<Entry>),
}

#[derive(Debug)]
struct Entry {
    key: String,
    key_range: Range<usize>,
    value: Node,
}

impl Tree {
    /// Parses a text.
    pub(super) fn read(text: &str) -> Result<Self, Problem> {
        if text.len() > MAX_BYTES {
            return Err(Problem { message: format!("larger than {MAX_BYTES} bytes"), range: 0..0 });
        }
        let mut reader = Reader { parser: Parser::new_from_str(text), text, bytes: byte_offsets(text), nodes: 0 };
        reader.document().map(|root| Self { root })
    }

    /// The document as a value without the removed nodes, and the mapping of its paths.
    pub(super) fn without(&self, cut: &BTreeSet<Path>) -> (Value, Origin) {
        let mut origin = Origin::default();
        let value = self.root.without(cut, &mut Vec::new(), &mut origin);
        (value, origin)
    }

    /// Every text, from top to bottom.
    pub(super) fn texts(&self) -> Vec<Text> {
        let mut texts = Vec::new();
        self.root.texts(&mut Vec::new(), &mut texts);
        texts
    }

    /// Keys without a value, and their positions.
    pub(super) fn without_value(&self) -> Vec<(Path, Range<usize>)> {
        let mut found = Vec::new();
        self.root.without_value(&mut Vec::new(), &mut found);
        found
    }

    pub(super) fn has(&self, path: &[Step]) -> bool {
        self.root.walk(path).1.is_empty()
    }

    /// Position of the node at `path`, or of its nearest existing ancestor.
    pub(super) fn range_near(&self, path: &[Step]) -> Range<usize> {
        self.root.walk(path).0.range.clone()
    }

    /// Position of the key of the entry at `path`.
    pub(super) fn key_range(&self, path: &[Step]) -> Option<Range<usize>> {
        let (Step::Key(key), around) = path.split_last()? else { return None };
        match &self.root.walk(around).0.kind {
            Kind::Mapping(entries) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| entry.key_range.clone())
            }
            Kind::Scalar(_) | Kind::Sequence(_) => None,
        }
    }
}

impl Node {
    /// The node that `path` reaches as far as it exists, and the rest of the path.
    fn walk<'p>(&self, path: &'p [Step]) -> (&Self, &'p [Step]) {
        let Some((step, rest)) = path.split_first() else { return (self, path) };
        let next = match (&self.kind, step) {
            (Kind::Mapping(entries), Step::Key(key)) => {
                entries.iter().find(|entry| entry.key == *key).map(|entry| &entry.value)
            }
            (Kind::Sequence(items), Step::Index(index)) => items.get(*index),
            (Kind::Scalar(_) | Kind::Sequence(_) | Kind::Mapping(_), _) => None,
        };
        next.map_or((self, path), |next| next.walk(rest))
    }

    fn without_value(&self, here: &mut Path, found: &mut Vec<(Path, Range<usize>)>) {
        let mut below = |step: Step, node: &Self, key: Option<&Range<usize>>| {
            here.push(step);
            match (&node.kind, key) {
                (Kind::Scalar(Value::Null), Some(range)) => found.push((here.clone(), range.clone())),
                (_, _) => node.without_value(here, found),
            }
            here.pop();
        };
        match &self.kind {
            Kind::Scalar(_) => {}
            Kind::Sequence(items) => (0..).zip(items).for_each(|(index, item)| below(Step::Index(index), item, None)),
            Kind::Mapping(entries) => {
                entries
                    .iter()
                    .for_each(|entry| below(Step::Key(entry.key.clone()), &entry.value, Some(&entry.key_range)));
            }
        }
    }

    fn texts(&self, here: &mut Path, texts: &mut Vec<Text>) {
        match &self.kind {
            Kind::Scalar(Value::String(text)) => texts.push(Text::new(here, text, false, &self.range)),
            Kind::Scalar(other) => texts.push(Text::new(here, &other.to_string(), false, &self.range)),
            Kind::Sequence(items) => {
                for (index, item) in items.iter().enumerate() {
                    here.push(Step::Index(index));
                    item.texts(here, texts);
                    here.pop();
                }
            }
            Kind::Mapping(entries) => {
                for Entry { key, key_range, value } in entries {
                    here.push(Step::Key(key.clone()));
                    texts.push(Text::new(here, key, true, key_range));
                    value.texts(here, texts);
                    here.pop();
                }
            }
        }
    }

    fn without(&self, cut: &BTreeSet<Path>, here: &mut Path, origin: &mut Origin) -> Value {
        match &self.kind {
            Kind::Scalar(value) => value.clone(),
            Kind::Sequence(items) => {
                let (mut kept, mut left) = (Vec::new(), Vec::new());
                for (index, item) in items.iter().enumerate() {
                    here.push(Step::Index(index));
                    if !cut.contains(here) {
                        kept.push(item.without(cut, here, origin));
                        left.push(index);
                    }
                    here.pop();
                }
                if left.len() < items.len() {
                    origin.0.insert(here.clone(), left);
                }
                Value::Array(kept)
            }
            Kind::Mapping(entries) => {
                let mut kept = serde_json::Map::new();
                for entry in entries {
                    here.push(Step::Key(entry.key.clone()));
                    if !cut.contains(here) {
                        kept.insert(entry.key.clone(), entry.value.without(cut, here, origin));
                    }
                    here.pop();
                }
                Value::Object(kept)
            }
        }
    }
}

/// Parses `rules[2].for`, and `prices[ml.p5.48xlarge]` for keys that contain dots.
pub(super) fn parse_path(path: &str) -> Path {
    let step = |part: &str| part.parse().map_or_else(|_| Step::Key(part.to_owned()), Step::Index);
    let within = |(number, part): (usize, &str)| -> Vec<Step> {
        let parts = if number % 2 == 1 { vec![part] } else { part.split('.').collect() };
        parts.into_iter().filter(|part| !part.is_empty()).map(step).collect()
    };
    path.split(['[', ']']).enumerate().flat_map(within).collect()
}

/// A path in its canonical form: `rules[2][for]`.
pub(super) fn shown(path: &[Step]) -> String {
    let mut shown = String::new();
    for step in path {
        let _ = match step {
            Step::Key(key) => write!(shown, "[{key}]"),
            Step::Index(index) => write!(shown, "[{index}]"),
        };
    }
    shown
}

/// A text of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    /// Its path, in the form of [`super::canonical`]; for a key, that of its value.
    pub path: String,
    /// The keys around it and its own, without list indices.
    pub keys: Vec<String>,
    /// The text.
    pub text: String,
    /// Whether it is a key.
    pub is_key: bool,
    /// Byte range in the file.
    pub range: Range<usize>,
}

impl Text {
    fn new(path: &[Step], text: &str, is_key: bool, range: &Range<usize>) -> Self {
        let key = |step: &Step| match step {
            Step::Key(key) => Some(key.clone()),
            Step::Index(_) => None,
        };
        let keys = path.iter().filter_map(key).collect();
        Self { path: shown(path), keys, text: text.to_owned(), is_key, range: range.clone() }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    text: &'t str,
    /// Byte offset of each character.
    bytes: Vec<usize>,
    /// Nodes so far.
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn document(&mut self) -> Result<Node, Problem> {
        let mut root = None;
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::StreamStart | Event::DocumentStart(_) | Event::DocumentEnd | Event::Nothing) {
                continue;
            }
            if event == Event::StreamEnd {
                let empty = Node { range: 0..0, kind: Kind::Mapping(Vec::new()) };
                return Ok(root.unwrap_or(empty));
            }
            if root.is_some() {
                return Err(self.problem(span, "a second document; only one per file is supported"));
            }
            root = Some(self.node(event, span, 0)?);
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> Result<Node, Problem> {
        if depth > MAX_DEPTH {
            return Err(self.problem(span, "nested too deep"));
        }
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(self.problem(span, format!("more than {MAX_NODES} values in one file")));
        }
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                self.refuse_marks(span, anchor, tag.is_some())?;
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) };
                Ok(Node { range: self.range(span), kind: Kind::Scalar(value) })
            }
            Event::SequenceStart(anchor, tag) => {
                self.refuse_marks(span, anchor, tag.is_some())?;
                self.sequence(span, depth)
            }
            Event::MappingStart(anchor, tag) => {
                self.refuse_marks(span, anchor, tag.is_some())?;
                self.mapping(span, depth)
            }
            Event::Alias(_) => Err(self.problem(span, "aliases (*name) are not supported; repeat the value")),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd
            | Event::SequenceEnd
            | Event::MappingEnd => Err(self.problem(span, "a value is missing here")),
        }
    }

    fn sequence(&mut self, start: Span, depth: usize) -> Result<Node, Problem> {
        let mut items = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::SequenceEnd {
                return Ok(Node { range: self.across(start, span), kind: Kind::Sequence(items) });
            }
            items.push(self.node(event, span, depth + 1)?);
        }
    }

    fn mapping(&mut self, start: Span, depth: usize) -> Result<Node, Problem> {
        let mut entries: Vec<Entry> = Vec::new();
        let mut taken: HashSet<String> = HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if event == Event::MappingEnd {
                return Ok(Node { range: self.across(start, span), kind: Kind::Mapping(entries) });
            }
            let Event::Scalar(key, ..) = event else { return Err(self.problem(span, "a key must be a plain word")) };
            let key = key.into_owned();
            if !taken.insert(key.clone()) {
                return Err(self.problem(span, format!("`{key}` is given twice")));
            }
            let (event, value_span) = self.next()?;
            let value = self.node(event, value_span, depth + 1)?;
            entries.push(Entry { key, key_range: self.range(span), value });
        }
    }

    fn next(&mut self) -> Result<(Event<'t>, Span), Problem> {
        match self.parser.next_event() {
            Some(Ok(next)) => Ok(next),
            Some(Err(error)) => {
                let at = self.byte(error.marker().index());
                let end = self.text.get(at..).and_then(|rest| rest.chars().next()).map_or(at, |c| at + c.len_utf8());
                Err(Problem { message: format!("not YAML: {}", error.info()), range: at..end })
            }
            None => {
                Err(Problem { message: "the file ends too early".to_owned(), range: self.text.len()..self.text.len() })
            }
        }
    }

    fn refuse_marks(&self, span: Span, anchor: usize, tagged: bool) -> Result<(), Problem> {
        if anchor > 0 {
            return Err(self.problem(span, "anchors (&name) are not supported; repeat the value"));
        }
        if tagged {
            return Err(self.problem(span, "tags (!name) are not supported"));
        }
        Ok(())
    }

    fn problem(&self, span: Span, message: impl Into<String>) -> Problem {
        Problem { message: message.into(), range: self.range(span) }
    }

    fn range(&self, span: Span) -> Range<usize> {
        self.byte(span.start.index())..self.byte(span.end.index())
    }

    /// The range of a collection, without trailing white space of a block collection.
    fn across(&self, start: Span, end: Span) -> Range<usize> {
        let whole = self.byte(start.start.index())..self.byte(end.end.index());
        let trimmed = self.text.get(whole.clone()).map_or(0, |text| text.trim_end().len());
        whole.start..whole.start + trimmed
    }

    fn byte(&self, character: usize) -> usize {
        self.bytes.get(character).copied().unwrap_or(self.text.len())
    }
}

fn byte_offsets(text: &str) -> Vec<usize> {
    text.char_indices().map(|(byte, _)| byte).collect()
}

/// A plain scalar, resolved by the core schema of YAML 1.2.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        _ => number(text).map_or_else(|| Value::String(text.to_owned()), Value::Number),
    }
}

fn number(text: &str) -> Option<Number> {
    if !text.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '-' | '+' | '.')) {
        return None;
    }
    let digits = text.strip_prefix('+').unwrap_or(text);
    let whole = digits.parse::<i64>().map(Number::from);
    whole.ok().or_else(|| digits.parse::<f64>().ok().and_then(Number::from_f64))
}
