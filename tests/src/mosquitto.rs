//! An MQTT broker: Mosquitto.

use std::{
    fs,
    io::Write as _,
    net::TcpStream,
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

use crate::{eventually, free_port, sandbox::scratch};

/// A broker that keeps any number of messages for a session; ends when dropped.
pub struct Mosquitto {
    child: Child,
    port: u16,
    _directory: TempDir,
}

impl Mosquitto {
    /// Starts it, and waits until it answers. It asks for the password of this user, if there is one.
    pub fn start(login: Option<(&str, &str)>) -> Self {
        let (directory, path) = scratch();
        let port = free_port();
        let mut settings = format!(
            "listener {port} 127.0.0.1\nmax_queued_messages 0\nmax_inflight_messages 1000\npersistence false\n"
        );
        if let Some((user, password)) = login {
            let file = path.join("passwords");
            let made = Command::new("mosquitto_passwd")
                .args(["-c", "-b"])
                .arg(&file)
                .args([user, password])
                .status();
            assert!(made.expect("mosquitto_passwd").success(), "a file of passwords");
            settings += &format!("allow_anonymous false\npassword_file {}\n", file.display());
        } else {
            settings += "allow_anonymous true\n";
        }
        // As the superuser it would become another one, who cannot read its files.
        settings += "user root\n";
        let file = path.join("mosquitto.conf");
        fs::write(&file, settings).expect("its settings");
        // On Debian it is where only the superuser's PATH leads.
        let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin";
        let child = Command::new("mosquitto")
            .env("PATH", path)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto; deploy/local/packages test installs it");
        eventually("mosquitto answers", || TcpStream::connect(("127.0.0.1", port)).ok());
        Self { child, port, _directory: directory }
    }

    /// Its address.
    pub fn url(&self) -> String {
        format!("mqtt://127.0.0.1:{}", self.port)
    }

    /// Publishes each line to this topic, so that the broker acknowledges it, and waits for that.
    pub fn publish(&self, topic: &str, lines: &str, login: Option<(&str, &str)>) {
        let mut publish = Command::new("mosquitto_pub");
        publish.args(["-q", "1", "-l", "-t", topic, "-p", &self.port.to_string()]);
        if let Some((user, password)) = login {
            publish.args(["-u", user, "-P", password]);
        }
        let mut child = publish.stdin(Stdio::piped()).spawn().expect("mosquitto_pub");
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(lines.as_bytes()).expect("writing lines");
        drop(input);
        assert!(child.wait().expect("its end").success(), "all is published");
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
