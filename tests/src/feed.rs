//! A WebSocket feed that a test plays, for messages that a recording cannot hold.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};
use tokio_tungstenite::tungstenite::Message;

/// A feed that sends every client all its messages from the first on, also after a reconnect. So it acts like a source
/// that resumes far back, and sends again what a connection lost.
pub struct Feed {
    address: SocketAddr,
    messages: watch::Sender<Vec<Message>>,
    connections: Arc<AtomicUsize>,
    server: JoinHandle<()>,
}

impl Feed {
    /// Listens on a free port.
    pub async fn listen() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let (messages, _) = watch::channel(Vec::new());
        let connections = Arc::new(AtomicUsize::new(0));
        let (feed, count) = (messages.clone(), Arc::clone(&connections));
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::Relaxed);
                tokio::spawn(serve(stream, feed.subscribe()));
            }
        });
        Self { address, messages, connections, server }
    }

    /// The address for a collector.
    pub fn url(&self) -> String {
        format!("ws://{}/2/rsvps", self.address)
    }

    /// Sends these messages after those that were sent before.
    pub fn send(&self, more: impl IntoIterator<Item = Message>) {
        self.messages.send_modify(|all| all.extend(more));
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(stream: TcpStream, mut messages: watch::Receiver<Vec<Message>>) {
    let Ok(socket) = tokio_tungstenite::accept_async(stream).await else { return };
    let (mut sink, mut source) = socket.split();
    let send = async {
        let mut next = 0;
        loop {
            let batch: Vec<Message> = messages.borrow_and_update()[next..].to_vec();
            next += batch.len();
            for message in batch {
                if sink.send(message).await.is_err() {
                    return;
                }
            }
            if messages.changed().await.is_err() {
                return;
            }
        }
    };
    // Reading answers the client's pings, and ends when it has closed.
    let receive = async { while let Some(Ok(_)) = source.next().await {} };
    tokio::select! {
        () = send => {}
        () = receive => {}
    }
}
