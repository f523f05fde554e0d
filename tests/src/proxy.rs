//! A TCP proxy in the place of a network: what goes over it can be delayed, held back or lost. A
//! process that reaches its servers through proxies alone can be cut off from each of them, as by a
//! firewall, while it and they run on.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{mpsc, watch},
    task::JoinHandle,
    time::Instant,
};

/// Pieces under way in one direction of a connection; then the sender's own buffers fill up.
const UNDER_WAY: usize = 256;
const PIECE: usize = 16 * 1024;

/// What the link does with bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    Open,
    /// Each direction takes as long.
    Slow(Duration),
    /// Nothing arrives; what was sent meanwhile does once the link is open again.
    Stalled,
    /// Nothing arrives, and nobody is told. What was sent is lost: a connection that was open
    /// meanwhile ends when the link is open again, as at a host that knows nothing of it any more.
    Cut,
}

/// One address in front of another.
pub struct Proxy {
    pub port: u16,
    target: Arc<Mutex<Option<SocketAddr>>>,
    link: watch::Sender<Link>,
    answered: Arc<AtomicU64>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// A proxy of a server that is told later; until then connections are refused.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        let target = Arc::new(Mutex::new(None));
        let link = watch::Sender::new(Link::Open);
        let answered = Arc::new(AtomicU64::new(0));
        let accepting =
            tokio::spawn(accept(listener, Arc::clone(&target), link.subscribe(), Arc::clone(&answered)));
        Self { port, target, link, answered, accepting }
    }

    /// A proxy of a port of the loopback.
    pub async fn of(port: u16) -> Self {
        let proxy = Self::start().await;
        proxy.lead_to(port);
        proxy
    }

    /// Where connections go from now on.
    pub fn lead_to(&self, port: u16) {
        let target = SocketAddr::from(([127, 0, 0, 1], port));
        *self.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// Bytes that the callers were sent so far.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: Arc<Mutex<Option<SocketAddr>>>,
    link: watch::Receiver<Link>,
    answered: Arc<AtomicU64>,
) {
    while let Ok((inward, _)) = listener.accept().await {
        let target = *target.lock().unwrap_or_else(PoisonError::into_inner);
        tokio::spawn(connection(inward, target, link.clone(), Arc::clone(&answered)));
    }
}

/// Waits until the link carries bytes; false: what was sent over it meanwhile is lost.
async fn carries(link: &mut watch::Receiver<Link>) -> bool {
    let mut lost = false;
    loop {
        match *link.borrow_and_update() {
            Link::Open | Link::Slow(_) => return !lost,
            Link::Cut => lost = true,
            Link::Stalled => {}
        }
        if link.changed().await.is_err() {
            return false;
        }
    }
}

/// Waits until a cut comes and is over.
async fn was_cut(mut link: watch::Receiver<Link>) {
    while link.wait_for(|link| *link == Link::Cut).await.is_ok() && carries(&mut link).await {}
}

async fn connection(
    inward: TcpStream,
    target: Option<SocketAddr>,
    mut link: watch::Receiver<Link>,
    answered: Arc<AtomicU64>,
) {
    let Some(target) = target else { return };
    if !carries(&mut link).await {
        return;
    }
    let Ok(outward) = TcpStream::connect(target).await else { return };
    for stream in [&inward, &outward] {
        // No delay but the one that is asked for.
        let _ = stream.set_nodelay(true);
    }
    let ((from_caller, to_caller), (from_server, to_server)) = (inward.into_split(), outward.into_split());
    let both = async {
        tokio::join!(
            carry(from_caller, to_server, link.clone(), Arc::default()),
            carry(from_server, to_caller, link.clone(), answered)
        )
    };
    tokio::select! {
        _ = both => {}
        () = was_cut(link.clone()) => {}
    }
}

/// One direction, until its sender ends it or either side is gone; `carried` counts its bytes.
async fn carry(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    link: watch::Receiver<Link>,
    carried: Arc<AtomicU64>,
) {
    let (sender, mut receiver) = mpsc::channel::<(Instant, Vec<u8>)>(UNDER_WAY);
    let reading_link = link.clone();
    let reading = async move {
        loop {
            let mut piece = vec![0; PIECE];
            let Ok(read @ 1..) = from.read(&mut piece).await else { return };
            piece.truncate(read);
            let delay = match *reading_link.borrow() {
                Link::Slow(delay) => delay,
                _ => Duration::ZERO,
            };
            if sender.send((Instant::now() + delay, piece)).await.is_err() {
                return;
            }
        }
    };
    let writing = async move {
        let mut link = link;
        while let Some((due, piece)) = receiver.recv().await {
            tokio::time::sleep_until(due).await;
            if !carries(&mut link).await || to.write_all(&piece).await.is_err() {
                return;
            }
            carried.fetch_add(piece.len() as u64, Ordering::Relaxed);
        }
        let _ = to.shutdown().await;
    };
    tokio::join!(reading, writing);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that sends back what it gets.
    async fn echo() -> u16 {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    let _ = tokio::io::copy(&mut from, &mut to).await;
                });
            }
        });
        port
    }

    async fn said(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.read_u8().await
    }

    #[tokio::test]
    async fn a_link_is_slow_stalls_and_is_cut() {
        let proxy = Proxy::of(echo().await).await;
        let mut stream = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        stream.write_u8(1).await.expect("writes");
        assert_eq!(said(&mut stream).await.expect("an answer"), 1);

        let delay = Duration::from_millis(30);
        proxy.set(Link::Slow(delay));
        let asked = Instant::now();
        stream.write_u8(2).await.expect("writes");
        assert_eq!(said(&mut stream).await.expect("an answer"), 2);
        assert!(asked.elapsed() >= 2 * delay);

        proxy.set(Link::Stalled);
        stream.write_u8(3).await.expect("writes");
        let nothing = tokio::time::timeout(Duration::from_millis(50), said(&mut stream)).await;
        assert!(nothing.is_err());
        proxy.set(Link::Open);
        assert_eq!(said(&mut stream).await.expect("late, but there"), 3);

        proxy.set(Link::Cut);
        stream.write_u8(4).await.expect("nobody is told");
        let nothing = tokio::time::timeout(Duration::from_millis(50), said(&mut stream)).await;
        assert!(nothing.is_err());
        proxy.set(Link::Open);
        assert!(said(&mut stream).await.is_err(), "it ended");
        let mut again = TcpStream::connect(("127.0.0.1", proxy.port)).await.expect("connects");
        again.write_u8(5).await.expect("writes");
        assert_eq!(said(&mut again).await.expect("an answer"), 5);
    }
}
