//! The groups, events and venues of a synthetic feed. They are written as JSON once, so that a line is only
//! composed of such parts.

use super::dice::Dice;
use super::words::{
    ACTIVITIES, CIRCLES, CITIES, COUNTRIES, City, FOREIGN_TOPICS, HEAD, OCCASIONS, ORNAMENTS,
    QUALIFIERS, QUARTERS, VENUES,
};

const GROUPS: u64 = 4_000;
const EVENTS_PER_GROUP: u64 = 3;
const VENUES_PER_GROUP: u64 = 2;

/// How many groups had 0, 1, 2, … topics in a recording of 2,460 lines.
const TOPICS_PER_GROUP: [u16; 22] =
    [0, 87, 11, 39, 70, 84, 103, 102, 134, 142, 211, 151, 214, 210, 239, 551, 62, 33, 6, 3, 0, 8];

/// Mentions of the ten most frequent topics in that recording, and of all topics.
const HEAD_MENTIONS: [u16; 10] = [868, 571, 539, 503, 456, 429, 417, 413, 350, 347];
/// The others follow `TAIL_SCALE / rank^TAIL_EXPONENT`, fitted to ranks 11 to 60.
const TAIL_SCALE: f64 = 1_946.0;
const TAIL_EXPONENT: f64 = 0.88;

/// A stream of random choices, in addition to those of lines.
const GROUP: u64 = 1;

const HOUR_MS: i64 = 3_600_000;

/// Everything that lines refer to.
#[derive(Debug)]
pub(super) struct World {
    groups: Vec<Group>,
}

/// A group with its events and venues; all texts are JSON.
#[derive(Debug)]
pub(super) struct Group {
    /// The object, with its keys in the order of the one recorder and of the other.
    pub json: [String; 2],
    /// The objects, in both orders.
    pub events: Vec<[String; 2]>,
    pub venues: Vec<[String; 2]>,
}

/// What groups are made of, with weights.
struct Catalogue {
    topics: Vec<[String; 2]>,
    topic_weights: Vec<f64>,
    sizes: Vec<f64>,
    countries: Vec<f64>,
}

impl World {
    /// The world of a seed; events take place after `start_ms`.
    pub(super) fn new(seed: u64, start_ms: i64) -> Self {
        let catalogue = Catalogue::new();
        let groups = (0..GROUPS)
            .map(|place| group(&catalogue, Dice::new(seed, GROUP, place), place, start_ms))
            .collect();
        Self { groups }
    }

    /// A group, some more often than others.
    pub(super) fn group(&self, dice: &mut Dice) -> &Group {
        let uniform = dice.unit();
        let skewed = uniform * uniform.sqrt().sqrt();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the number of groups"
        )]
        let index = (skewed * self.groups.len() as f64) as usize;
        &self.groups[index]
    }
}

impl Catalogue {
    fn new() -> Self {
        let combinations = QUALIFIERS.len() * ACTIVITIES.len();
        // Coprime to the number of combinations, so that each comes once, and topics of similar rank have different words.
        const STEP: usize = 2_741;
        let combined = (0..combinations).map(|rank| {
            let at = rank * STEP % combinations;
            format!("{} {}", QUALIFIERS[at / ACTIVITIES.len()], ACTIVITIES[at % ACTIVITIES.len()])
        });
        let plain = HEAD.iter().chain(&ACTIVITIES).map(|&name| name.to_owned());
        let rare = FOREIGN_TOPICS.iter().map(|&name| name.to_owned());
        let topics = plain.chain(combined).chain(rare).map(|name| {
            let (key, name) = (json(&slug(&name)), json(&name));
            [
                format!(r#"{{"urlkey":{key},"topic_name":{name}}}"#),
                format!(r#"{{"topic_name":{name},"urlkey":{key}}}"#),
            ]
        });
        let topics: Vec<_> = topics.collect();
        let weights = (0..topics.len()).map(|rank| match HEAD_MENTIONS.get(rank) {
            Some(&mentions) => f64::from(mentions),
            None => TAIL_SCALE / ((rank + 1) as f64).powf(TAIL_EXPONENT),
        });
        Self {
            topic_weights: cumulated(weights),
            topics,
            sizes: cumulated(TOPICS_PER_GROUP.iter().copied().map(f64::from)),
            countries: cumulated(COUNTRIES.iter().map(|&(_, share)| f64::from(share))),
        }
    }

    /// The different topics of a group: their number is random, and frequent topics are more likely.
    fn draw(&self, dice: &mut Dice) -> Vec<usize> {
        let size = dice.weighted(&self.sizes);
        let mut drawn = Vec::with_capacity(size);
        while drawn.len() < size {
            let topic = dice.weighted(&self.topic_weights);
            if !drawn.contains(&topic) {
                drawn.push(topic);
            }
        }
        drawn
    }

    fn city(&self, dice: &mut Dice) -> &'static City {
        let (country, _) = COUNTRIES[dice.weighted(&self.countries)];
        let there: Vec<&City> = CITIES.iter().filter(|city| city.0 == country).collect();
        dice.pick(&there)
    }
}

fn group(catalogue: &Catalogue, mut dice: Dice, place: u64, start_ms: i64) -> Group {
    let dice = &mut dice;
    let &(country, state, city, lat, lon) = catalogue.city(dice);
    let (about, circle) = (activity(dice), dice.pick(&CIRCLES));
    let name = ornamented(dice, &format!("{city} {about} {circle}"), 0.03);
    let urlname = slug(&name);
    let id = 1_000_000 + place * 4_337;
    let topics = catalogue.draw(dice);
    let list = |order: usize| {
        let entries: Vec<&str> =
            topics.iter().map(|&topic| catalogue.topics[topic][order].as_str()).collect();
        entries.join(",")
    };
    let (lat_text, lon_text) = (coordinate(dice, lat), coordinate(dice, lon));
    let (json_name, json_city, json_url) = (json(&name), json(city), json(&urlname));
    let state = state.map_or_else(String::new, |state| format!(r#""group_state":"{state}","#));
    let first = format!(
        r#"{{"group_name":{json_name},{state}"group_city":{json_city},"group_lat":{lat_text},"group_urlname":{json_url},"group_id":{id},"group_country":"{country}","group_topics":[{}],"group_lon":{lon_text}}}"#,
        list(0),
    );
    let second = format!(
        r#"{{"group_topics":[{}],"group_city":{json_city},"group_country":"{country}","group_id":{id},"group_name":{json_name},"group_lon":{lon_text},{state}"group_urlname":{json_url},"group_lat":{lat_text}}}"#,
        list(1),
    );
    Group {
        json: [first, second],
        events: (0..EVENTS_PER_GROUP).map(|_| event(dice, city, &urlname, start_ms)).collect(),
        venues: (0..VENUES_PER_GROUP).map(|_| venue(dice, lat, lon)).collect(),
    }
}

fn event(dice: &mut Dice, city: &str, urlname: &str, start_ms: i64) -> [String; 2] {
    let number = 219_000_000 + dice.below(4_000_000);
    let occasion = dice.pick(&OCCASIONS);
    let plain = match dice.below(400) {
        0..80 => format!("{occasion} #{}", dice.below(200)),
        80..180 => format!("{city}: {occasion}"),
        180..184 => format!("\"{}\" \u{2013} {occasion}", activity(dice)),
        190 => format!("{occasion}\t({city})"),
        191 => format!("{occasion}\n{city}"),
        192 => format!("{occasion} \\o/"),
        _ => format!("{} {occasion}", activity(dice)),
    };
    let name = ornamented(dice, &plain, 0.02);
    // One recorder in a hundred escapes everything that is not ASCII.
    let name = if dice.chance(0.01) { ascii_json(&name) } else { json(&name) };
    let id = if dice.chance(0.6) { number.to_string() } else { recurring_id(dice) };
    let url = format!(r"http:\/\/www.meetup.com\/{urlname}\/events\/{number}\/");
    let quarters = i64::try_from(dice.below(60 * 24 * 4)).unwrap_or_default();
    let at = start_ms.div_euclid(HOUR_MS) * HOUR_MS + (quarters + 1) * (HOUR_MS / 4);
    let time = if dice.chance(0.013) { None } else { Some(at) };
    let first = time.map_or_else(String::new, |time| format!(r#""time":{time},"#));
    let last = time.map_or_else(String::new, |time| format!(r#","time":{time}"#));
    [
        format!(r#"{{{first}"event_url":"{url}","event_id":"{id}","event_name":{name}}}"#),
        format!(r#"{{"event_name":{name},"event_id":"{id}"{last},"event_url":"{url}"}}"#),
    ]
}

fn venue(dice: &mut Dice, lat: f64, lon: f64) -> [String; 2] {
    let (quarter, kind) = (dice.pick(&QUARTERS), dice.pick(&VENUES));
    let name = json(&ornamented(dice, &format!("{quarter} {kind}"), 0.01));
    let id = 100_000 + dice.below(24_000_000);
    let (lat, lon) = if dice.chance(0.04) {
        ("0".to_owned(), "0".to_owned())
    } else {
        (format!("{:.6}", lat + dice.unit() / 10.0), format!("{:.6}", lon + dice.unit() / 10.0))
    };
    [
        format!(r#"{{"lon":{lon},"venue_name":{name},"venue_id":{id},"lat":{lat}}}"#),
        format!(r#"{{"venue_name":{name},"lon":{lon},"lat":{lat},"venue_id":{id}}}"#),
    ]
}

fn activity(dice: &mut Dice) -> &'static str {
    dice.pick(&ACTIVITIES)
}

/// The text `plain`, to which with a chance of `share` something is added that is not ASCII.
fn ornamented(dice: &mut Dice, plain: &str, share: f64) -> String {
    if dice.chance(share) { format!("{plain} {}", dice.pick(&ORNAMENTS)) } else { plain.to_owned() }
}

/// A coordinate as the feed has it: mostly with decimals, sometimes an integer.
fn coordinate(dice: &mut Dice, degrees: f64) -> String {
    if dice.chance(0.02) { format!("{degrees:.0}") } else { format!("{degrees}") }
}

/// The id of a recurring event, which consists of letters.
fn recurring_id(dice: &mut Dice) -> String {
    (0..12).map(|_| char::from(b'a' + u8::try_from(dice.below(26)).unwrap_or_default())).collect()
}

fn slug(name: &str) -> String {
    let mut slug = String::with_capacity(name.len());
    for letter in name.chars() {
        if letter.is_ascii_alphanumeric() {
            slug.push(letter.to_ascii_lowercase());
        } else if !slug.ends_with('-') {
            slug.push('-');
        }
    }
    slug.trim_matches('-').to_owned()
}

/// A JSON string, `/` escaped as Meetup did.
pub(super) fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('/', r"\/")
}

/// A JSON string in ASCII; a character above U+FFFF is written as two escapes.
fn ascii_json(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    for letter in json(text).chars() {
        if letter.is_ascii() {
            ascii.push(letter);
        } else {
            for unit in letter.encode_utf16(&mut [0; 2]) {
                ascii.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    ascii
}

fn cumulated(weights: impl Iterator<Item = f64>) -> Vec<f64> {
    let sums = weights.scan(0.0, |sum, weight| {
        *sum += weight;
        Some(*sum)
    });
    sums.collect()
}
