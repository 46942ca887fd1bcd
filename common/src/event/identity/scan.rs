//! The pass over the payload. It checks all of it and keeps the values of the fields that are asked for.

use std::borrow::Cow;

use crate::event::json::Reader;
use crate::event::{Reason, Step, Value};

/// A path into the payload, and the value that was found there.
#[derive(Debug)]
pub(super) struct Field<'s, 'p> {
    steps: &'s [Step],
    pub(super) found: Option<Value<'p>>,
}

/// Checks that `payload` is one JSON object and fills in `fields`.
pub(super) fn object<'p>(payload: &'p [u8], fields: &mut [Field<'_, 'p>]) -> Result<(), Reason> {
    let mut reader = Reader::of_payload(payload)?;
    let is_object = reader.peek() == Some(b'{');
    let every: Vec<_> = (0..fields.len()).collect();
    let mut scan = Scan { reader, names: Vec::with_capacity(32), duplicate: false, fields };
    scan.value(0, &every)?;
    scan.reader.end()?;
    if !is_object {
        Err(Reason::NotObject)
    } else if scan.duplicate {
        Err(Reason::DuplicateKey)
    } else {
        Ok(())
    }
}

// === impl Field ===

impl<'s> Field<'s, '_> {
    pub(super) fn new(steps: &'s [Step]) -> Self {
        Self { steps, found: None }
    }
}

struct Scan<'p, 'f, 's> {
    reader: Reader<'p>,
    /// The names of all open objects, outermost first.
    names: Vec<Cow<'p, str>>,
    duplicate: bool,
    fields: &'f mut [Field<'s, 'p>],
}

// === impl Scan ===

impl<'p> Scan<'p, '_, '_> {
    /// Reads the value that the first `depth` steps of the fields `here` lead to. The recursion is bounded,
    /// because the reader refuses to open more than `MAX_DEPTH` brackets.
    fn value(&mut self, depth: usize, here: &[usize]) -> Result<(), Reason> {
        if let Some(raw) = self.reader.open_string()? {
            let text = |scan: &Self| Value::Text(scan.reader.resolve(raw));
            self.keep(depth, here, text);
        } else if self.reader.open(b'{')? {
            self.keep(depth, here, |_| Value::Other);
            self.members(depth, here)?;
        } else if self.reader.open(b'[')? {
            self.keep(depth, here, |_| Value::Other);
            let mut first = true;
            while self.reader.element(first)? {
                first = false;
                self.value(depth + 1, &[])?;
            }
        } else {
            let scalar = self.reader.scalar()?;
            let is_number =
                scalar.starts_with(|first: char| first == '-' || first.is_ascii_digit());
            let found = if is_number { Value::Number(scalar) } else { Value::Other };
            self.keep(depth, here, |_| found.clone());
        }
        Ok(())
    }

    fn members(&mut self, depth: usize, here: &[usize]) -> Result<(), Reason> {
        let outer = self.names.len();
        let mut first = true;
        while self.reader.member(first)? {
            first = false;
            let raw = self.reader.name()?;
            let name = self.reader.resolve(raw);
            let leads = |field: &usize| matches!(self.fields[*field].steps.get(depth), Some(Step::Key(key)) if *key == name);
            // Nearly every member is on no path; the vector is empty then, and allocates nothing.
            let below: Vec<_> = here.iter().copied().filter(leads).collect();
            self.names.push(name);
            self.value(depth + 1, &below)?;
        }
        // Sorting once at the end finds duplicates in O(n log n), also among a hundred thousand names.
        let own = &mut self.names[outer..];
        own.sort_unstable();
        self.duplicate |= own.windows(2).any(|pair| pair[0] == pair[1]);
        self.names.truncate(outer);
        Ok(())
    }

    /// Notes a value for the fields that end here.
    fn keep(&mut self, depth: usize, here: &[usize], found: impl Fn(&Self) -> Value<'p>) {
        for &field in here {
            if self.fields[field].steps.len() == depth {
                self.fields[field].found = Some(found(self));
            }
        }
    }
}
