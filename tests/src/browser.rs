//! Drives a browser without a screen, by the few calls of the WebDriver protocol (W3C, HTTP and JSON) that the tests
//! need. The browser is Chromium, Chrome or Firefox, whichever is [`installed`].

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::{eventually, free_port, process};

mod installed;

pub use installed::{Installed, Kind, find};

/// A browser with one page. When it is dropped, the browser and everything that it started ends.
pub struct Browser {
    kind: Kind,
    driver: Child,
    session: String,
    http: reqwest::Client,
    runtime: Runtime,
    marker: String,
    profile: TempDir,
}

/// A line of the browser's own log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// `SEVERE`, `WARNING`, …
    pub level: String,
    /// `network`, `javascript`, `console-api`, `security`, …
    pub source: String,
    /// The text, which begins with the place.
    pub message: String,
}

impl Browser {
    /// Starts a browser with a window of this size.
    pub fn open(installed: &Installed, width: u32, height: u32) -> Self {
        let profile = tempfile::Builder::new()
            .prefix("millrace-browser-")
            .tempdir()
            .expect("a profile for the browser");
        let marker =
            profile.path().to_str().expect("a temporary directory's name is text").to_owned();
        let port = free_port();
        let driver = Command::new(&installed.driver)
            .arg(format!("--port={port}"))
            .env(process::MARKER, &marker)
            .env("TMPDIR", profile.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("starting {}: {error}", installed.driver.display()));
        let http = reqwest::Client::builder()
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .expect("an HTTP client");
        let base = format!("http://127.0.0.1:{port}");
        let runtime = Runtime::new().expect("a runtime");
        let kind = installed.kind;
        let mut browser =
            Self { kind, driver, session: String::new(), http, runtime, marker, profile };
        eventually("the browser's driver listens", || {
            let status = async { browser.http.get(format!("{base}/status")).send().await };
            browser.runtime.block_on(status).ok()
        });
        let wanted = installed.capabilities(width, height, browser.profile.path());
        let capabilities = json!({"capabilities": {"alwaysMatch": wanted}});
        let created = browser.call_at(&format!("{base}/session"), Some(capabilities));
        let id = created["sessionId"].as_str().expect("a session has an id");
        browser.session = format!("{base}/session/{id}");
        browser
    }

    /// Makes the page see a reader who prefers `light` or `dark`.
    pub fn prefer(&self, scheme: &str) {
        match self.kind {
            Kind::Chromium => {
                let media =
                    json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
                self.devtools("Emulation.setEmulatedMedia", &media);
            }
            Kind::Firefox => {
                let value = if scheme == "dark" { 0 } else { 1 };
                let name = "layout.css.prefers-color-scheme.content-override";
                self.call("/moz/context", Some(json!({"context": "chrome"})));
                self.execute(&format!("Services.prefs.setIntPref('{name}', {value})"));
                self.call("/moz/context", Some(json!({"context": "content"})));
            }
        }
    }

    /// Goes to a page, and returns when it has loaded.
    pub fn goto(&self, url: &str) {
        self.call("/url", Some(json!({"url": url})));
    }

    /// Runs a script's body in the page, and returns what it returns.
    pub fn execute(&self, script: &str) -> Value {
        self.call("/execute/sync", Some(json!({"script": script, "args": []})))
    }

    /// Runs a script's body again and again until it returns neither null nor false, and returns that value.
    pub fn until(&self, what: &str, script: &str) -> Value {
        eventually(what, || {
            let value = self.execute(script);
            (!matches!(value, Value::Null | Value::Bool(false))).then_some(value)
        })
    }

    /// Gives the page another size, as another screen would. Firefox has a minimum width, about that of a large phone.
    pub fn resize(&self, width: u32, height: u32) {
        match self.kind {
            Kind::Chromium => {
                let metrics = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": false});
                self.devtools("Emulation.setDeviceMetricsOverride", &metrics);
                self.until("the new width", &format!("return innerWidth === {width}"));
            }
            Kind::Firefox => {
                self.call("/window/rect", Some(json!({"width": width, "height": height})));
            }
        }
    }

    /// Stores a picture of the page as PNG.
    pub fn screenshot(&self, path: &Path) {
        let encoded = self.call("/screenshot", None);
        let png = STANDARD
            .decode(encoded.as_str().expect("a screenshot is text"))
            .expect("a screenshot is base64");
        std::fs::write(path, png).expect("storing a screenshot");
    }

    /// What the browser has logged since the last call. With Firefox it is always empty, because its driver has no such
    /// call.
    pub fn log(&self) -> Vec<LogEntry> {
        if self.kind == Kind::Firefox {
            return Vec::new();
        }
        let entries = self.call("/se/log", Some(json!({"type": "browser"})));
        let text = |entry: &Value, name: &str| entry[name].as_str().unwrap_or_default().to_owned();
        let entry = |entry| LogEntry {
            level: text(entry, "level"),
            source: text(entry, "source"),
            message: text(entry, "message"),
        };
        entries.as_array().expect("a log is a list").iter().map(entry).collect()
    }

    fn devtools(&self, command: &str, parameters: &Value) {
        self.call("/goog/cdp/execute", Some(json!({"cmd": command, "params": parameters})));
    }

    fn call(&self, path: &str, body: Option<Value>) -> Value {
        self.call_at(&format!("{}{path}", self.session), body)
    }

    fn call_at(&self, url: &str, body: Option<Value>) -> Value {
        let request = match body {
            Some(body) => self.http.post(url).json(&body),
            None => self.http.get(url),
        };
        let mut answer: Value = self
            .runtime
            .block_on(async { request.send().await?.json().await })
            .unwrap_or_else(|error| panic!("asking the browser's driver: {error}"));
        let value = answer["value"].take();
        assert!(value.get("error").is_none(), "the browser's driver refused {url}: {value}");
        value
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // A browser that is asked to end does so with all its processes. What does not end is killed below.
        let _ = self.runtime.block_on(async { self.http.delete(&self.session).send().await });
        let _ = self.driver.kill();
        let _ = self.driver.wait();
        // A driver that is killed leaves its browser behind.
        for process in process::marked(&self.marker) {
            process.signal(nix::sys::signal::Signal::SIGKILL);
        }
    }
}
