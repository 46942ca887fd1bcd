//! Finds the browser of this machine, and the program that drives it: Chromium or Chrome with chromedriver, else Firefox
//! with geckodriver. The first pair that answers `--version` is used.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::{Value, json};

/// What a machine without a browser needs.
const MISSING: &str = "no browser that a test can drive: install chromium and chromium-driver (Debian), the chromium \
                       snap (Ubuntu), Google Chrome with chromedriver, or Firefox with geckodriver";

/// Folders outside of `PATH` in which packages put these programs.
const FOLDERS: [&str; 4] =
    ["/snap/bin", "/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome"];

/// The kinds of browsers: the names of each and of its driver, in the order in which they are tried. Ubuntu's
/// `chromium-browser` may be a script that only tells people to install the snap; it fails if asked for its version.
const KINDS: [(Kind, &[&str], &[&str]); 2] = [
    (
        Kind::Chromium,
        &["chromium", "google-chrome", "google-chrome-stable", "chrome", "chromium-browser"],
        &["chromedriver", "chromium.chromedriver"],
    ),
    (Kind::Firefox, &["firefox", "firefox-esr"], &["geckodriver"]),
];

/// The kind of a browser; see `Browser` for what the two do differently.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Chromium, Chrome.
    Chromium,
    /// Firefox.
    Firefox,
}

/// A browser with its driver.
#[derive(Debug)]
pub struct Installed {
    /// Which kind.
    pub kind: Kind,
    /// The program that drives it.
    pub driver: PathBuf,
    browser: PathBuf,
}

/// The first browser that is installed together with its driver; the error says what has to be installed.
pub fn find() -> Result<Installed, &'static str> {
    let path = env::var_os("PATH").unwrap_or_default();
    find_in(&folders(&path), answers).ok_or(MISSING)
}

fn folders(path: &OsString) -> Vec<PathBuf> {
    env::split_paths(path).chain(FOLDERS.map(PathBuf::from)).collect()
}

fn find_in(folders: &[PathBuf], answers: impl Fn(&Path) -> bool) -> Option<Installed> {
    let first = |names: &[&str]| {
        names
            .iter()
            .flat_map(|name| folders.iter().map(move |folder| folder.join(name)))
            .find(|program| answers(program))
    };
    KINDS.iter().find_map(|(kind, browsers, drivers)| {
        Some(Installed { kind: *kind, driver: first(drivers)?, browser: first(browsers)? })
    })
}

fn answers(program: &Path) -> bool {
    program.is_file()
        && Command::new(program)
            .arg("--version")
            .stdin(Stdio::null())
            .output()
            .is_ok_and(|output| output.status.success())
}

impl Installed {
    /// The capabilities that a session is asked for: a window of this size without a screen, and a profile of its own.
    pub fn capabilities(&self, width: u32, height: u32, profile: &Path) -> Value {
        match self.kind {
            Kind::Chromium => {
                let mut options = json!({"args": [
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-sync",
                    "--no-first-run",
                    "--hide-scrollbars",
                    format!("--window-size={width},{height}"),
                    format!("--user-data-dir={}", profile.display()),
                ]});
                // The driver of a snap knows its browser, and cannot start it by the path outside of the snap.
                if !self.driver.starts_with("/snap") {
                    options["binary"] = json!(self.browser);
                }
                json!({"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}})
            }
            // Firefox creates a profile of its own in TMPDIR, which is `profile`.
            Kind::Firefox => json!({"moz:firefoxOptions": {
                "binary": self.browser,
                "args": [
                    "-headless",
                    // The preferred colours are a setting of the browser, which a page cannot reach.
                    "-remote-allow-system-access",
                    format!("--width={width}"),
                    format!("--height={height}"),
                ],
            }}),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(programs: &[&str]) -> Option<(Kind, PathBuf, PathBuf)> {
        let folders = folders(&OsString::from("/bin:/usr/bin"));
        find_in(&folders, |program| programs.iter().any(|one| Path::new(one) == program))
            .map(|installed| (installed.kind, installed.browser, installed.driver))
    }

    #[test]
    fn any_browser_that_has_its_driver_is_found() {
        for (kind, browser, driver) in [
            (Kind::Chromium, "/usr/bin/chromium", "/usr/bin/chromedriver"),
            (Kind::Chromium, "/usr/bin/google-chrome", "/usr/bin/chromedriver"),
            (Kind::Chromium, "/snap/bin/chromium", "/snap/bin/chromium.chromedriver"),
            (Kind::Chromium, "/usr/bin/chromium", "/usr/lib/chromium-browser/chromedriver"),
            (Kind::Firefox, "/usr/bin/firefox-esr", "/bin/geckodriver"),
        ] {
            let expected = (kind, PathBuf::from(browser), PathBuf::from(driver));
            assert_eq!(found(&[browser, driver]), Some(expected));
        }
    }

    #[test]
    fn a_browser_without_its_driver_is_passed_over_for_one_that_has_it() {
        assert_eq!(found(&["/usr/bin/chromium"]), None);
        let both = ["/usr/bin/chromium", "/usr/bin/firefox", "/usr/bin/geckodriver"];
        assert_eq!(found(&both).map(|(kind, ..)| kind), Some(Kind::Firefox));
    }

    #[test]
    fn without_a_browser_the_error_says_what_to_install() {
        assert_eq!(found(&[]), None);
        for name in ["chromium-driver", "snap", "Chrome", "geckodriver"] {
            assert!(MISSING.contains(name), "{name}");
        }
    }
}
