//! What is known of the strings, numbers and truth values of one path.

use std::collections::HashSet;

use common::distinct::Distinct;
use common::event::identity::hash;

use super::times::Times;

/// How many different values are counted exactly.
const EXACT: usize = 256;
/// How many examples are kept.
const EXAMPLES: usize = 8;
/// How many characters of an example are kept.
const EXAMPLE_CHARS: usize = 64;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Values {
    different: Different,
    /// How many values there were.
    taken: u64,
    examples: Vec<(Example, u64)>,
    texts: u64,
    chars: u64,
    blanks: u64,
    urls: u64,
    numeric_texts: u64,
    numbers: u64,
    fractions: u64,
    least: Option<f64>,
    greatest: Option<f64>,
    times: Times,
}

/// A value that occurred.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The string without its quotes, or the number, `true` or `false`. A long one is cut.
    pub text: Box<str>,
    /// Whether it is a string.
    pub is_text: bool,
}

/// How many different hashes there are: exactly as long as they are few.
#[derive(Debug)]
enum Different {
    Few(HashSet<u64>),
    Many(Distinct),
}

impl Default for Different {
    fn default() -> Self {
        Self::Few(HashSet::new())
    }
}

impl Different {
    fn insert(&mut self, hash: u64) {
        match self {
            Self::Few(few) => {
                few.insert(hash);
                if few.len() > EXACT {
                    let mut many = Distinct::new();
                    few.iter().for_each(|&hash| many.insert(hash));
                    *self = Self::Many(many);
                }
            }
            Self::Many(many) => many.insert(hash),
        }
    }

    fn absorb(&mut self, other: Self) {
        match (&mut *self, other) {
            (_, Self::Few(few)) => few.into_iter().for_each(|hash| self.insert(hash)),
            (Self::Many(mine), Self::Many(theirs)) => mine.merge(&theirs),
            (Self::Few(few), Self::Many(mut theirs)) => {
                few.iter().for_each(|&hash| theirs.insert(hash));
                *self = Self::Many(theirs);
            }
        }
    }
}

impl Values {
    /// How many different values there are; above 256 an estimate with a standard error of 0.8 %.
    pub fn different(&self) -> u64 {
        match &self.different {
            Different::Few(few) => few.len() as u64,
            Different::Many(many) => many.estimate().min(self.taken),
        }
    }

    /// Whether [`different`](Self::different) is an estimate.
    pub const fn is_estimate(&self) -> bool {
        matches!(self.different, Different::Many(_))
    }

    /// Some values, the most frequent first.
    pub fn examples(&self) -> impl Iterator<Item = &Example> {
        let mut examples: Vec<_> = self.examples.iter().collect();
        examples.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        examples.into_iter().map(|(example, _)| example)
    }

    /// How many strings there were.
    pub const fn texts(&self) -> u64 {
        self.texts
    }

    /// How many characters a string has on average.
    pub fn text_length(&self) -> f64 {
        self.chars as f64 / self.texts.max(1) as f64
    }

    /// The share of strings with white space.
    pub fn blanks(&self) -> f64 {
        self.blanks as f64 / self.texts.max(1) as f64
    }

    /// The share of strings that are addresses.
    pub fn urls(&self) -> f64 {
        self.urls as f64 / self.texts.max(1) as f64
    }

    /// How many numbers there were, those in strings included.
    pub const fn numeric(&self) -> u64 {
        self.numbers + self.numeric_texts
    }

    /// How many numbers there were, those in strings not included.
    pub const fn numbers(&self) -> u64 {
        self.numbers
    }

    /// How many of all numbers have a fraction.
    pub const fn fractions(&self) -> u64 {
        self.fractions
    }

    /// The least and the greatest number.
    pub fn range(&self) -> Option<(f64, f64)> {
        self.least.zip(self.greatest)
    }

    /// The values as times.
    pub const fn times(&self) -> &Times {
        &self.times
    }

    pub(super) fn text(&mut self, text: &str, now_ms: i64) {
        self.take(text, true);
        self.texts += 1;
        self.chars += text.chars().count() as u64;
        self.blanks += u64::from(text.contains(char::is_whitespace));
        self.urls += u64::from(text.contains("://"));
        if let Some(number) = numeric(text) {
            self.numeric_texts += 1;
            self.range_over(number, text);
        }
        self.times.text(text, now_ms);
    }

    pub(super) fn bool(&mut self, word: &str) {
        self.take(word, false);
    }

    pub(super) fn number(&mut self, number: &str, now_ms: i64) {
        self.take(number, false);
        self.numbers += 1;
        if let Ok(value) = number.parse() {
            self.range_over(value, number);
        }
        self.times.number(number, now_ms);
    }

    fn range_over(&mut self, value: f64, written: &str) {
        self.fractions += u64::from(written.contains('.'));
        self.least = Some(self.least.map_or(value, |least| least.min(value)));
        self.greatest = Some(self.greatest.map_or(value, |greatest| greatest.max(value)));
    }

    /// Counts a value among the different ones and the examples; these by the algorithm of Misra and Gries (1982), which
    /// keeps every value that is more frequent than one in nine.
    fn take(&mut self, text: &str, is_text: bool) {
        self.taken += 1;
        self.different.insert(hash(text.as_bytes()));
        let cut = text.char_indices().nth(EXAMPLE_CHARS).map(|(at, _)| at);
        let shown = cut.map_or(text, |at| &text[..at]);
        let same = |(example, _): &&mut (Example, u64)| {
            example.is_text == is_text && example.text.trim_end_matches('…') == shown
        };
        if let Some((_, count)) = self.examples.iter_mut().find(same) {
            *count += 1;
            return;
        }
        // One that is not counted any more stays as an example until there is another.
        let free = self.examples.iter().position(|(_, count)| *count == 0);
        if free.is_none() && self.examples.len() == EXAMPLES {
            self.examples.iter_mut().for_each(|(_, count)| *count -= 1);
            return;
        }
        let text = if cut.is_some() { format!("{shown}…") } else { shown.to_owned() };
        let example = (Example { text: text.into(), is_text }, 1);
        match free.filter(|_| self.examples.len() == EXAMPLES) {
            Some(free) => self.examples[free] = example,
            None => self.examples.push(example),
        }
    }

    pub(super) fn absorb(&mut self, other: Self) {
        self.taken += other.taken;
        self.different.absorb(other.different);
        for (example, count) in other.examples {
            match self.examples.iter().position(|(mine, _)| *mine == example) {
                Some(at) => self.examples[at].1 += count,
                None if self.examples.len() < EXAMPLES => self.examples.push((example, count)),
                None => {}
            }
        }
        self.texts += other.texts;
        self.chars += other.chars;
        self.blanks += other.blanks;
        self.urls += other.urls;
        self.numeric_texts += other.numeric_texts;
        self.numbers += other.numbers;
        self.fractions += other.fractions;
        for bound in [other.least, other.greatest].into_iter().flatten() {
            self.least = Some(self.least.map_or(bound, |least| least.min(bound)));
            self.greatest = Some(self.greatest.map_or(bound, |greatest| greatest.max(bound)));
        }
        self.times.absorb(&other.times);
    }
}

/// The number that a string is, if it is written as in JSON.
fn numeric(text: &str) -> Option<f64> {
    const LONGEST: usize = 40;
    let allowed = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    let is_number = text.len() <= LONGEST
        && bytes.iter().all(|&byte| allowed(byte))
        && digit(bytes.last())
        && digit(text.trim_start_matches('-').as_bytes().first());
    if is_number { text.parse().ok() } else { None }
}
