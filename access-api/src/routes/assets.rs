//! The dashboard's files. They are part of the binary, so that the page needs no files beside it and loads nothing
//! from other servers.

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderMap;
use warp::reply::Response;

use super::reply;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SVG: &str = "image/svg+xml";

/// A file.
#[derive(Debug)]
pub struct Asset {
    path: &'static str,
    content_type: &'static str,
    body: &'static [u8],
    etag: String,
}

macro_rules! assets {
    ($($path:literal => $file:literal, $content_type:expr;)*) => {
        [$(Asset::new($path, $content_type, include_bytes!(concat!("../../dashboard/", $file)))),*]
    };
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    assets! {
        "/" => "index.html", HTML;
        "/audit.html" => "audit.html", HTML;
        "/assets/announcer.js" => "announcer.js", SCRIPT;
        "/assets/app.js" => "app.js", SCRIPT;
        "/assets/audit.css" => "audit.css", STYLE;
        "/assets/audit.js" => "audit.js", SCRIPT;
        "/assets/bars.css" => "bars.css", STYLE;
        "/assets/bars.js" => "bars.js", SCRIPT;
        "/assets/books.js" => "books.js", SCRIPT;
        "/assets/colours.js" => "colours.js", SCRIPT;
        "/assets/format.js" => "format.js", SCRIPT;
        "/assets/history.js" => "history.js", SCRIPT;
        "/assets/icon.svg" => "icon.svg", SVG;
        "/assets/item.js" => "item.js", SCRIPT;
        "/assets/layout.css" => "layout.css", STYLE;
        "/assets/page.js" => "page.js", SCRIPT;
        "/assets/picker.js" => "picker.js", SCRIPT;
        "/assets/prefs.js" => "prefs.js", SCRIPT;
        "/assets/results.js" => "results.js", SCRIPT;
        "/assets/retry.js" => "retry.js", SCRIPT;
        "/assets/server.js" => "server.js", SCRIPT;
        "/assets/socket.js" => "socket.js", SCRIPT;
        "/assets/state.js" => "state.js", SCRIPT;
        "/assets/theme.css" => "theme.css", STYLE;
        "/assets/theme.js" => "theme.js", SCRIPT;
        "/assets/totals.js" => "totals.js", SCRIPT;
        "/assets/view.js" => "view.js", SCRIPT;
        "/assets/watchdog.js" => "watchdog.js", SCRIPT;
        "/assets/wording.js" => "wording.js", SCRIPT;
    }
    .into()
});

/// The file at this path.
pub fn find(path: &str) -> Option<&'static Asset> {
    ASSETS.iter().find(|asset| asset.path == path)
}

impl Asset {
    fn new(path: &'static str, content_type: &'static str, body: &'static [u8]) -> Self {
        Self {
            path,
            content_type,
            body,
            etag: format!("{:016x}", xxhash_rust::xxh3::xxh3_64(body)),
        }
    }

    /// The file, or 304 when the client has the same one.
    pub fn respond(&self, headers: &HeaderMap) -> Response {
        reply::tagged(headers, &self.etag, self.content_type, Bytes::from_static(self.body))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_file_of_the_dashboard_is_served() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("dashboard");
        let files: BTreeSet<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap())
            .filter(|entry| entry.file_type().unwrap().is_file())
            .map(|entry| entry.file_name().into_string().unwrap())
            // It is there for the tests of the dashboard only.
            .filter(|name| name != "package.json")
            .map(|name| match name.as_str() {
                "index.html" => "/".to_owned(),
                page if page.ends_with(".html") => format!("/{page}"),
                _ => format!("/assets/{name}"),
            })
            .collect();
        let served: BTreeSet<String> = ASSETS.iter().map(|asset| asset.path.to_owned()).collect();
        assert_eq!(served, files);
    }

    #[test]
    fn no_address_is_absolute_so_that_the_page_works_below_a_path() {
        for asset in ASSETS.iter() {
            let text = std::str::from_utf8(asset.body).unwrap();
            for absolute in ["\"/assets/", "'/assets/", "\"/v1/", "'/v1/", "url(/"] {
                assert!(!text.contains(absolute), "{} has {absolute}…", asset.path);
            }
        }
    }

    #[test]
    fn every_file_that_a_file_names_is_served() {
        for asset in ASSETS.iter().filter(|asset| asset.content_type != SVG) {
            let text = std::str::from_utf8(asset.body).unwrap();
            for prefix in ["\"assets/", "'assets/", "from './", "from \"./"] {
                for rest in text.split(prefix).skip(1) {
                    let name: String =
                        rest.chars().take_while(|&c| c != '"' && c != '\'').collect();
                    assert!(
                        find(&format!("/assets/{name}")).is_some(),
                        "{} names {name}",
                        asset.path
                    );
                }
            }
        }
    }
}
