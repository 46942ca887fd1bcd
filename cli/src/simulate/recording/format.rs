//! The format of a recording, recognised by its first bytes and not by its name. Pure.
//!
//! | first bytes | answer |
//! |---|---|
//! | gzip, zstd | [`Packing`]: unpacked while it is read |
//! | another packed format, an archive, a binary table | [`Foreign`], with the command that converts it to lines |
//! | UTF-16 or UTF-32, JSON that is spread over several lines | the same |
//! | anything else | lines |

use serde::de::IgnoredAny;

#[cfg(test)]
mod tests;

/// A packed format that is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Zstd,
}

/// A format that is not lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Foreign {
    /// What it is, to be put after "is".
    pub what: &'static str,
    /// The command that converts it to lines, without the file's name. `None` if there is no common one.
    pub command: Option<&'static str>,
}

const GZIP: &[u8] = b"\x1f\x8b";
const ZSTD: &[u8] = b"\x28\xb5\x2f\xfd";
/// A skippable frame of zstd, which holds no data, begins with `5x 2a 4d 18`.
const ZSTD_SKIPPABLE: &[u8] = b"\x2a\x4d\x18";

const TAR: Foreign = Foreign { what: "a tar archive", command: Some("tar -xOf") };
const TAR_OFFSET: usize = 257;

const ARRAY: Foreign =
    Foreign { what: "one JSON array over many lines", command: Some("jq -c '.[]'") };
const OBJECTS: Foreign =
    Foreign { what: "JSON with objects over many lines", command: Some("jq -c .") };
const UTF_16: Foreign = Foreign { what: "UTF-16", command: Some("iconv -f UTF-16 -t UTF-8") };
const UTF_16_LE: Foreign = Foreign { what: "UTF-16", command: Some("iconv -f UTF-16LE -t UTF-8") };
const UTF_16_BE: Foreign = Foreign { what: "UTF-16", command: Some("iconv -f UTF-16BE -t UTF-8") };
const UTF_32: Foreign = Foreign { what: "UTF-32", command: Some("iconv -f UTF-32 -t UTF-8") };

const FOREIGN: [(&[u8], Foreign); 12] = [
    (b"\xfd7zXZ\0", Foreign { what: "packed with xz", command: Some("xz -dc") }),
    (b"BZh", Foreign { what: "packed with bzip2", command: Some("bzip2 -dc") }),
    (b"PK\x03\x04", Foreign { what: "a zip archive", command: Some("unzip -p") }),
    (b"PK\x05\x06", Foreign { what: "an empty zip archive", command: None }),
    (b"7z\xbc\xaf\x27\x1c", Foreign { what: "a 7z archive", command: Some("7z x -so") }),
    (b"\x04\x22\x4d\x18", Foreign { what: "packed with lz4", command: Some("lz4 -dc") }),
    (b"LZIP", Foreign { what: "packed with lzip", command: Some("lzip -dc") }),
    (b"\x5d\0\0", Foreign { what: "packed with lzma", command: Some("xz -dc --format=lzma") }),
    (b"\x1f\x9d", Foreign { what: "packed with compress", command: Some("gzip -dc") }),
    (b"\xff\x06\0\0sNaPpY", Foreign { what: "packed with Snappy", command: Some("snzip -dc") }),
    (b"PAR1", Foreign { what: "a Parquet table", command: None }),
    (b"Obj\x01", Foreign { what: "an Avro file", command: Some("avro-tools tojson") }),
];

/// How it is packed; `None` if it is not packed in a format that is read.
pub(super) fn packing(head: &[u8]) -> Option<Packing> {
    if head.starts_with(GZIP) {
        return Some(Packing::Gzip);
    }
    let skippable = |head: &[u8]| {
        head.first().is_some_and(|first| first >> 4 == 5) && head[1..].starts_with(ZSTD_SKIPPABLE)
    };
    (head.starts_with(ZSTD) || skippable(head)).then_some(Packing::Zstd)
}

/// Checks that `head`, the beginning of a recording, can be the beginning of lines of text. It should hold the whole
/// first line.
pub(super) fn check_lines(head: &[u8]) -> Result<(), Foreign> {
    match foreign(head).or_else(|| wide_text(head)).or_else(|| spread_json(head)) {
        Some(foreign) => Err(foreign),
        None => Ok(()),
    }
}

fn foreign(head: &[u8]) -> Option<Foreign> {
    let packed_twice =
        |command| Foreign { what: "packed twice, or with something else inside", command };
    match packing(head) {
        Some(Packing::Gzip) => return Some(packed_twice(Some("gzip -dc"))),
        Some(Packing::Zstd) => return Some(packed_twice(Some("zstd -dc"))),
        None => {}
    }
    if head.get(TAR_OFFSET..).is_some_and(|rest| rest.starts_with(b"ustar")) {
        return Some(TAR);
    }
    FOREIGN.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, foreign)| *foreign)
}

/// Text with two or four bytes a character: it has a byte order mark, or NULs where ASCII has none.
fn wide_text(head: &[u8]) -> Option<Foreign> {
    match head {
        [0xff, 0xfe, 0, 0, ..] | [0, 0, 0xfe, 0xff, ..] => Some(UTF_32),
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] if head.contains(&0) => Some(UTF_16),
        [b'{' | b'[' | b'"', 0, _, 0, ..] => Some(UTF_16_LE),
        [0, b'{' | b'[' | b'"', 0, _, ..] => Some(UTF_16_BE),
        _ => None,
    }
}

/// JSON that is formatted for people: its first line is not a complete value.
fn spread_json(head: &[u8]) -> Option<Foreign> {
    let end = head.iter().position(|&byte| byte == b'\n')?;
    let head = head[..end].strip_prefix(b"\xef\xbb\xbf").unwrap_or(&head[..end]);
    match head.trim_ascii() {
        b"{" => Some(OBJECTS),
        b"[" => Some(ARRAY),
        line if line.starts_with(b"[") => {
            let whole = serde_json::from_slice::<IgnoredAny>(line);
            whole.is_err_and(|error| error.is_eof()).then_some(ARRAY)
        }
        _ => None,
    }
}
