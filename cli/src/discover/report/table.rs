//! Every path in a line that fits the width.

use crate::discover::shape::{Example, Path};
use crate::text::{cut, cut_middle, grouped, padded, printable, width};
use crate::units;

const TITLES: [&str; 6] = ["PATH", "TYPE", "EVENTS", "DIFFERENT", "SIZE", "EXAMPLES"];
/// How much room the examples have at least, if the paths can be cut.
const EXAMPLE_ROOM: usize = 24;

/// The table, with its titles. Columns are as wide as they have to be, and the examples get what is left. Where whole paths leave
/// too little room for examples, each line has only the last step of its path, below the one that it belongs to.
pub(super) fn table(paths: &[Path<'_>], columns: usize) -> String {
    let mut rows: Vec<[String; 6]> = paths.iter().map(row).collect();
    let mut widths = widest(&rows);
    let between = 2 * (TITLES.len() - 1);
    let fixed: usize = widths[1..5].iter().sum::<usize>() + between;
    let free = columns.saturating_sub(fixed);
    if widths[0] + EXAMPLE_ROOM > free {
        for (row, path) in rows.iter_mut().zip(paths) {
            row[0] = branch(path);
        }
        widths = widest(&rows);
    }
    widths[0] = widths[0].min(free.saturating_sub(EXAMPLE_ROOM).max(free / 2).max(8));
    widths[5] = free.saturating_sub(widths[0]);
    let mut text = line(&TITLES.map(str::to_owned), &widths);
    for row in &rows {
        text += &line(row, &widths);
    }
    text
}

fn widest(rows: &[[String; 6]]) -> [usize; 6] {
    let mut widths = TITLES.map(width);
    for row in rows {
        for (widest, cell) in widths.iter_mut().zip(row) {
            *widest = width(cell).max(*widest);
        }
    }
    widths
}

/// The last step of a path, indented by how many there are.
fn branch(path: &Path<'_>) -> String {
    let last = path.pointer.rsplit('/').next().unwrap_or_default();
    format!("{:indent$}/{}", "", printable(last), indent = path.steps - 1)
}

fn line(cells: &[String; 6], widths: &[usize; 6]) -> String {
    let [path, kind, share, different, size, examples] = cells;
    let right = |cell: &str, room: usize| " ".repeat(room.saturating_sub(width(cell))) + cell;
    let line = [
        padded(&cut_middle(path, widths[0]), widths[0]),
        padded(kind, widths[1]),
        right(share, widths[2]),
        right(different, widths[3]),
        right(size, widths[4]),
        cut(examples, widths[5]),
    ];
    line.join("  ").trim_end().to_owned() + "\n"
}

fn row(path: &Path<'_>) -> [String; 6] {
    let node = path.node;
    let kinds = node.kinds();
    let kind = match kinds.as_slice() {
        [] => String::new(),
        [only] => only.name().to_owned(),
        [first, second] => format!("{}, {}", first.name(), second.name()),
        [first, .., _] => format!("{}, {} more", first.name(), kinds.len() - 1),
    };
    let share = path.share * 100.0;
    let share = match share {
        all if all >= 100.0 => "all".to_owned(),
        // Not all of them, however few are missing.
        most if most > 99.0 => "99 %".to_owned(),
        few if few < 1.0 => "< 1 %".to_owned(),
        some => format!("{some:.0} %"),
    };
    let values = node.values();
    let different = values.map_or_else(String::new, |values| {
        let about = if values.is_estimate() { "~" } else { "" };
        format!("{about}{}", grouped(values.different()))
    });
    let size = units::bytes(node.bytes() / node.seen().max(1));
    let examples: Vec<String> =
        values.into_iter().flat_map(|values| values.examples().take(5)).map(shown).collect();
    [printable(&path.pointer), kind, share, different, size, examples.join("  ")]
}

fn shown(example: &Example) -> String {
    let text = printable(&example.text);
    // Blanks at its ends, and an empty text, would not be seen.
    if example.is_text && (text.is_empty() || text.trim() != text) {
        format!("\"{text}\"")
    } else {
        text
    }
}
