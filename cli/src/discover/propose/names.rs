//! What the name of a path suggests: that of its last member, and for a short one that of the member before.

/// Whose id it is rather than the event's: what many events have in common.
const SUBJECTS: [&str; 46] = [
    "account",
    "actor",
    "author",
    "calendar",
    "campaign",
    "category",
    "channel",
    "city",
    "client",
    "country",
    "customer",
    "device",
    "did",
    "driver",
    "feed",
    "group",
    "guild",
    "host",
    "line",
    "member",
    "merchant",
    "node",
    "org",
    "organization",
    "owner",
    "page",
    "parent",
    "player",
    "product",
    "project",
    "repo",
    "repository",
    "route",
    "sensor",
    "server",
    "session",
    "shop",
    "station",
    "store",
    "team",
    "tenant",
    "topic",
    "user",
    "vehicle",
    "venue",
    "wiki",
];
/// Words for what tells things apart.
const IDS: [&str; 6] = ["id", "guid", "identifier", "ulid", "uuid", "did"];
/// Words for numbers and texts that are often as good.
const SEQUENCES: [&str; 12] = [
    "cid", "hash", "offset", "revision", "rev", "rkey", "seq", "seqno", "sequence", "sha", "txid",
    "uri",
];
/// Words for texts that people read as the name of something.
const NAMES: [&str; 20] = [
    "artist", "category", "channel", "city", "country", "genre", "hashtag", "keyword", "label",
    "lang", "language", "name", "page", "product", "repo", "tag", "title", "topic", "user", "wiki",
];
/// Words for texts that tell nobody anything in a ranking.
const OPAQUE: [&str; 35] = [
    "avatar",
    "body",
    "cid",
    "color",
    "comment",
    "content",
    "cursor",
    "description",
    "digest",
    "etag",
    "hash",
    "href",
    "html",
    "icon",
    "id",
    "image",
    "img",
    "ip",
    "key",
    "link",
    "message",
    "note",
    "path",
    "rev",
    "rkey",
    "sha",
    "signature",
    "summary",
    "text",
    "thumb",
    "token",
    "uri",
    "url",
    "uuid",
    "version",
];
/// Words for numbers that are no measure.
const NO_MEASURES: [&str; 25] = [
    "code",
    "day",
    "height",
    "hour",
    "id",
    "index",
    "lat",
    "latitude",
    "lng",
    "lon",
    "longitude",
    "minute",
    "month",
    "offset",
    "port",
    "postcode",
    "revision",
    "sequence",
    "seq",
    "status",
    "timestamp",
    "version",
    "width",
    "year",
    "zip",
];
/// Words for numbers that are.
const MEASURES: [&str; 36] = [
    "added",
    "amount",
    "ask",
    "average",
    "balance",
    "bid",
    "bytes",
    "change",
    "cost",
    "count",
    "delay",
    "deleted",
    "delta",
    "depth",
    "distance",
    "duration",
    "guests",
    "humidity",
    "last",
    "latency",
    "length",
    "level",
    "ltp",
    "mag",
    "magnitude",
    "price",
    "quantity",
    "rate",
    "score",
    "size",
    "speed",
    "temperature",
    "total",
    "value",
    "volume",
    "weight",
];
/// Words for the time of an event.
const TIMES: [&str; 17] = [
    "at",
    "created",
    "date",
    "datetime",
    "dt",
    "mtime",
    "now",
    "occurred",
    "published",
    "sent",
    "time",
    "timestamp",
    "ts",
    "updated",
    "us",
    "ms",
    "when",
];

/// The words of the last member's name, in lower case.
pub(super) fn words(pointer: &str) -> Vec<String> {
    let last = pointer.rsplit('/').find(|step| *step != "*").unwrap_or_default();
    split(last)
}

/// `groupId`, `group_id`, `group-id` and `$groupID` are `group`, `id`.
fn split(name: &str) -> Vec<String> {
    let mut words: Vec<String> = vec![String::new()];
    let mut before = '_';
    for letter in name.chars() {
        if letter.is_uppercase() && before.is_lowercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric()
            && let Some(word) = words.last_mut()
        {
            word.extend(letter.to_lowercase());
        }
        before = letter;
    }
    words.retain(|word| !word.is_empty());
    words
}

fn has(words: &[String], list: &[&str]) -> bool {
    // `topics` is `topic`.
    let known = |word: &String| {
        list.contains(&word.as_str())
            || word.strip_suffix('s').is_some_and(|one| list.contains(&one))
    };
    words.iter().any(known)
}

/// How much the name is that of the event's own id: 0 if it is not an id at all, 1 for `/id`.
pub(super) fn id_strength(pointer: &str) -> f64 {
    let words = words(pointer);
    let Some(last) = words.last() else { return 0.0 };
    let whose = if words.len() > 1 {
        words[..words.len() - 1].to_vec()
    } else {
        pointer.rsplit('/').nth(1).map(split).unwrap_or_default()
    };
    let subject = has(&whose, &SUBJECTS) || last == "did";
    let is_id = IDS.contains(&last.as_str());
    match (is_id, SEQUENCES.contains(&last.as_str())) {
        (true, _) if subject => 0.3,
        (true, _) if words.len() == 1 => 1.0,
        (true, _) => 0.8,
        (false, true) => 0.4,
        // `rsvpid`: without a hint where the word ends.
        (false, false) if last.len() > 4 && last.ends_with("id") => 0.3,
        (false, false) => 0.0,
    }
}

/// Whether the name is that of an id, of the event or of anything else.
pub(super) fn is_id(pointer: &str) -> bool {
    let words = words(pointer);
    words.last().is_some_and(|last| IDS.contains(&last.as_str()) || last == "key")
}

/// Whether the name is that of a time.
pub(super) fn is_time(pointer: &str) -> bool {
    has(&words(pointer), &TIMES)
}

/// How good the name is in a ranking: about 1.
pub(super) fn rank_factor(pointer: &str) -> f64 {
    let words = words(pointer);
    let last = words.last().map_or(&[][..], std::slice::from_ref);
    match (has(last, &NAMES), has(last, &OPAQUE)) {
        (true, _) => 1.4,
        (false, true) => 0.4,
        // `urlkey`, `sha1`: opaque words in others.
        (false, false) if last.iter().any(|word| word.contains("url") || word.ends_with("key")) => {
            0.4
        }
        (false, false) => 1.0,
    }
}

/// How good the name is for an average: about 1; 0 if an average of it means nothing.
pub(super) fn measure_factor(pointer: &str) -> f64 {
    let words = words(pointer);
    match (has(&words, &MEASURES), has(&words, &NO_MEASURES)) {
        (true, false) => 1.5,
        (false, true) => 0.0,
        (true, true) | (false, false) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_divided_into_words_however_it_is_written() {
        for name in ["/a/groupId", "/group_id", "/group-id/*", "/$groupID"] {
            assert_eq!(words(name), ["group", "id"], "{name}");
        }
    }

    #[test]
    fn the_events_own_id_is_stronger_than_that_of_its_subject() {
        let order = ["/id", "/rsvp_id", "/commit/cid", "/user/id", "/response"];
        let strengths: Vec<f64> = order.iter().map(|name| id_strength(name)).collect();
        assert!(strengths.is_sorted_by(|a, b| a > b), "{strengths:?}");
    }
}
