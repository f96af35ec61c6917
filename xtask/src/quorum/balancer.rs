//! One port before several nodes, as a balancer of an operator would be: each connection goes to the first
//! node that takes it.

use anyhow::{Context, Result};
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, spawn};

/// Ends when it is dropped; connections through it end with either side.
#[derive(Debug)]
pub(super) struct Balancer {
    port: u16,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Balancer {
    /// Stands before the nodes that listen at `ports`; those named first are taken first.
    pub(super) fn before(ports: Vec<u16>) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("find a free port")?;
        let port = listener
            .local_addr()
            .context("read a port's number")?
            .port();
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = spawn(move || {
            for client in listener.incoming() {
                if seen.load(Ordering::Acquire) {
                    return;
                }
                // A client that is gone already needs no node.
                let joined = client.and_then(|client| join(client, &ports));
                if let Err(error) = joined {
                    eprintln!("the balancer has no node for a connection: {error}");
                }
            }
        });
        Ok(Self {
            port,
            over,
            thread: Some(thread),
        })
    }

    /// The port.
    pub(super) fn port(&self) -> u16 {
        self.port
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        // Somebody must come for it to look up.
        if let Err(error) = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)) {
            eprintln!("the balancer could not be told to end: {error}");
            return;
        }
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            eprintln!("the balancer broke off");
        }
    }
}

/// Joins a client to the first node that takes it.
fn join(client: TcpStream, ports: &[u16]) -> io::Result<()> {
    let mut last = io::Error::from(io::ErrorKind::NotConnected);
    for port in ports {
        match TcpStream::connect((Ipv4Addr::LOCALHOST, *port)) {
            Ok(node) => {
                carry(client.try_clone()?, node.try_clone()?);
                carry(node, client);
                return Ok(());
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Carries bytes one way until either side ends; then both end.
fn carry(mut from: TcpStream, mut to: TcpStream) {
    // Nobody waits for it: it ends with the connection, which ends with its client.
    spawn(move || {
        let _ended: io::Result<u64> = io::copy(&mut from, &mut to);
        for side in [&from, &to] {
            let _closed: io::Result<()> = side.shutdown(Shutdown::Both);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::Balancer;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};

    #[test]
    fn a_connection_goes_to_the_first_node_that_lives_and_bytes_go_both_ways() {
        let dead = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let dead_port = dead.local_addr().expect("its number").port();
        drop(dead);
        let node = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = node.local_addr().expect("its number").port();
        let balancer = Balancer::before(vec![dead_port, port]).expect("it listens");
        let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, balancer.port())).expect("open");
        let (mut node, _) = node.accept().expect("it came");
        client.write_all(b"ping").expect("sent");
        let mut came = [0; 4];
        node.read_exact(&mut came).expect("heard");
        assert_eq!(&came, b"ping");
        node.write_all(b"pong").expect("sent");
        drop(node);
        let mut answer = String::new();
        client
            .read_to_string(&mut answer)
            .expect("heard to its end");
        assert_eq!(answer, "pong");
    }
}
