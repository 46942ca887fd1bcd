//! The shell commands in a page of the documentation.
//!
//! A block of code without a language is a script: a reader may paste it into bash. In `docs/operations.md` a line
//! `<!-- not run: REASON -->` right before a block says that `tests/kubernetes` does not run it.

#[cfg(test)]
mod tests;

/// How the line before a block begins that is not run.
const NOT_RUN: &str = "<!-- not run: ";

/// A block of code without a language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The line of the page on which its first command is, counted from 1.
    pub line: usize,
    /// Its text.
    pub text: String,
    /// Why no test runs it; `None` if one does.
    pub not_run: Option<String>,
}

/// A page in Markdown.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Its scripts, in order.
    pub scripts: Vec<Script>,
    /// Its code within lines, each with the line on which it is.
    pub spans: Vec<(usize, String)>,
}

impl Page {
    /// Reads a page.
    ///
    /// # Panics
    /// When a block of code does not end, when code within lines goes over two of them, or when a mark that something is
    /// not run has no reason or no script after it.
    pub fn of(text: &str) -> Self {
        let mut page = Self::default();
        let mut not_run = None;
        let mut lines = text.lines().zip(1..);
        while let Some((line, number)) = lines.next() {
            // A block within a list is indented.
            let (indent, line) = line.split_at(line.len() - line.trim_start().len());
            if let Some(language) = line.strip_prefix("```") {
                let mut text = String::new();
                loop {
                    let next =
                        lines.next().map(|(line, _)| line.strip_prefix(indent).unwrap_or(line));
                    match next.unwrap_or_else(|| panic!("line {number}: a block without an end")) {
                        "```" => break,
                        line => text.extend([line, "\n"]),
                    }
                }
                if language.is_empty() {
                    page.scripts.push(Script { line: number + 1, text, not_run: not_run.take() });
                }
            } else if let Some(reason) = line.strip_prefix(NOT_RUN) {
                let reason = reason.strip_suffix(" -->").filter(|reason| !reason.is_empty());
                let reason = reason.unwrap_or_else(|| panic!("line {number}: no reason"));
                assert!(
                    not_run.replace(reason.to_owned()).is_none(),
                    "line {number}: a second one"
                );
                continue;
            } else {
                let signs = line.matches('`').count();
                assert!(signs.is_multiple_of(2), "line {number}: code that goes over two lines");
                let spans = line.split('`').skip(1).step_by(2);
                page.spans.extend(spans.map(|span| (number, span.to_owned())));
            }
            assert!(not_run.is_none(), "line {number}: no script right after `{NOT_RUN}…`");
        }
        page
    }
}

/// The words of each command in a script, without quotes, redirections and comments. What is substituted
/// (`$(command)`) is a command of its own.
pub fn commands(script: &str) -> Vec<Vec<String>> {
    let (mut commands, mut words, mut word) = (Vec::new(), Vec::new(), None::<String>);
    let mut quote = None;
    let mut signs = script.chars().peekable();
    while let Some(sign) = signs.next() {
        match (quote, sign) {
            (Some(open), _) if open == sign => quote = None,
            (Some(_), _) => word.get_or_insert_default().push(sign),
            (None, '\'' | '"') => {
                quote = Some(sign);
                word.get_or_insert_default();
            }
            (None, '\\') if signs.next_if_eq(&'\n').is_some() => {}
            (None, '#') if word.is_none() => while signs.next_if(|sign| *sign != '\n').is_some() {},
            (None, '$') if signs.peek() == Some(&'(') => {}
            (None, ' ' | '\t' | '<' | '>') => words.extend(word.take()),
            (None, '\n' | ';' | '|' | '&' | '(' | ')') => {
                words.extend(word.take());
                commands.push(std::mem::take(&mut words));
            }
            (None, _) => word.get_or_insert_default().push(sign),
        }
    }
    words.extend(word);
    commands.push(words);
    commands.retain(|words| !words.is_empty());
    commands
}
