//! A proxy between AMQP clients and their broker that does mischief at chosen frames.
//!
//! A test arms rules: a [`Spot`] names a frame by its method, its way, its connection and its number, and a
//! [`Mischief`] says what goes wrong there. A rule that holds a frame is a barrier: the test learns that a
//! conversation has come to exactly this point, does what it wants, and lets it go on or cuts it. The proxy
//! reads plain AMQP; of TLS it knows records, and nothing of what is in them.

mod frame;
mod rule;
mod line;
mod pump;

pub use frame::{Frame, Kind, Method};
pub use rule::{Mischief, Spot, Way};

use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use line::{Condition, Ends, Line, end, reset_at_close};
use rule::{Armed, Release};

/// How long the broker may take to let a connection in.
const CONNECT: Duration = Duration::from_secs(5);

/// The proxy. It listens from its making until it is dropped.
pub struct ChaosProxy {
    shared: Arc<Shared>,
    address: SocketAddr,
    acceptor: Option<JoinHandle<()>>,
}

/// What all threads of a proxy share.
struct Shared {
    broker: SocketAddr,
    speech: Speech,
    state: Mutex<State>,
    changed: Condvar,
}

/// What is spoken through a proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Speech {
    Amqp,
    Tls,
}

#[derive(Default)]
struct State {
    closing: bool,
    /// Whether the broker is to be away.
    away: bool,
    rules: Vec<Armed>,
    lines: BTreeMap<u64, Line>,
    /// Frames by the name of their connection, their way and their kind.
    seen: BTreeMap<(String, Way, Kind), u64>,
    started: u64,
}

/// A rule of a proxy: one mischief at one spot.
pub struct Rule {
    shared: Arc<Shared>,
    at: usize,
}

impl ChaosProxy {
    /// A proxy in front of the broker that `uri` names, by address and port.
    ///
    /// # Errors
    /// When the URI has no address and port, or no port of ours can be opened.
    pub fn before(uri: &str) -> Result<Self> {
        Self::of(uri, Speech::Amqp)
    }

    /// The same in front of one that speaks TLS. A frame is a record then, and connections have no names.
    ///
    /// # Errors
    /// As [`ChaosProxy::before`].
    pub fn before_tls(uri: &str) -> Result<Self> {
        Self::of(uri, Speech::Tls)
    }

    fn of(uri: &str, speech: Speech) -> Result<Self> {
        let broker = authority(uri)?.parse();
        let broker = broker.with_context(|| format!("read the broker's address in {uri}"))?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("open a port")?;
        let address = listener.local_addr().context("read the port's number")?;
        let shared = Arc::new(Shared {
            broker,
            speech,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        let accepting = Arc::clone(&shared);
        let acceptor = thread::Builder::new().name("chaos".to_owned());
        let acceptor = acceptor.spawn(move || accept(&accepting, &listener));
        Ok(Self {
            shared,
            address,
            acceptor: Some(acceptor.context("start a thread")?),
        })
    }

    /// The URI by which a client of `uri` comes through here.
    ///
    /// # Errors
    /// When the URI has no address and port.
    pub fn uri(&self, uri: &str) -> Result<String> {
        Ok(uri.replacen(authority(uri)?, &self.address.to_string(), 1))
    }

    /// Arms a rule. Where two strike at one frame, the older one does, and the other one never.
    pub fn at(&self, spot: Spot, mischief: Mischief) -> Rule {
        let mut state = self.shared.state();
        state.rules.push(Armed::new(spot, mischief));
        Rule {
            shared: Arc::clone(&self.shared),
            at: state.rules.len() - 1,
        }
    }

    /// Is a broker that is away: every connection is reset, and so is whoever comes, until
    /// [`Self::comes_back`].
    pub fn goes_away(&self) {
        self.shared.state().away = true;
        self.cut("");
    }

    /// Lets clients through to the broker again.
    pub fn comes_back(&self) {
        self.shared.state().away = false;
    }

    /// Resets every connection whose name contains `part`, and says how many there were.
    pub fn cut(&self, part: &str) -> usize {
        let mut state = self.shared.state();
        let lines = state.lines.values_mut();
        let named = lines.filter(|line| line.is_open() && line.name.contains(part));
        let count = named.map(Line::cut).count();
        self.shared.changed.notify_all();
        count
    }

    /// Waits until the broker has ended every connection whose name contains `part`, or it was cut.
    ///
    /// # Errors
    /// When one is open `within` this time still.
    pub fn until_closed(&self, part: &str, within: Duration) -> Result<()> {
        let open = |state: &State| {
            let mut lines = state.lines.values();
            lines.any(|line| line.is_open() && line.name.contains(part))
        };
        if self.shared.wait_while(within, open) {
            return Ok(());
        }
        bail!(
            "see every connection {part:?} closed within {within:?}\n{}",
            self.report()
        )
    }

    /// How many frames of that kind went that way over connections whose name contains `part`.
    #[must_use]
    pub fn seen(&self, way: Way, kind: Kind, part: &str) -> u64 {
        let state = self.shared.state();
        let seen = state.seen.iter();
        let fits = seen
            .filter(|((name, went, was), _)| *went == way && *was == kind && name.contains(part));
        fits.map(|(_, count)| count).sum()
    }

    /// Everything that passed, for people: a line for each connection, way and kind.
    #[must_use]
    pub fn report(&self) -> String {
        let mut report = String::new();
        for ((name, way, kind), count) in &self.shared.state().seen {
            // Writing to a text cannot fail.
            let written = writeln!(report, "{count:6} x {kind}, {way}, {name:?}");
            debug_assert!(written.is_ok());
        }
        report
    }
}

impl Rule {
    /// Waits until it strikes, and says on which connection.
    ///
    /// # Errors
    /// When it does not `within` this time.
    pub fn struck(&self, within: Duration) -> Result<String> {
        let not_yet = |state: &State| self.of(state).is_none();
        if !self.shared.wait_while(within, not_yet) {
            bail!("see a frame come to the spot of a rule within {within:?}");
        }
        self.has_struck()
            .context("find the connection that it struck on")
    }

    /// On which connection it has struck, if it has.
    #[must_use]
    pub fn has_struck(&self) -> Option<String> {
        self.of(&self.shared.state()).map(ToOwned::to_owned)
    }

    /// Lets a frame that is held pass.
    pub fn go_on(&self) {
        self.release(Release::GoOn);
    }

    /// Resets the connection of a frame that is held.
    pub fn cut(&self) {
        self.release(Release::Cut);
    }

    fn release(&self, release: Release) {
        if let Some(rule) = self.shared.state().rules.get_mut(self.at) {
            rule.release = Some(release);
        }
        self.shared.changed.notify_all();
    }

    fn of<'a>(&self, state: &'a State) -> Option<&'a str> {
        state.rules.get(self.at)?.struck.as_deref()
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `unwanted` is so no more; false when that is not within this time.
    fn wait_while(&self, within: Duration, unwanted: impl Fn(&State) -> bool) -> bool {
        let waited = self
            .changed
            .wait_timeout_while(self.state(), within, |state| unwanted(state));
        let (_state, time) = waited.unwrap_or_else(PoisonError::into_inner);
        !time.timed_out()
    }
}

impl Drop for ChaosProxy {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        for line in state.lines.values() {
            line.shut();
        }
        drop(state);
        self.shared.changed.notify_all();
        // It waits for somebody to come.
        if let Err(error) = TcpStream::connect(self.address) {
            eprintln!("the chaos proxy could not be woken: {error}");
            return;
        }
        let acceptor = self.acceptor.take();
        if acceptor.is_some_and(|acceptor| acceptor.join().is_err()) {
            eprintln!("the chaos proxy broke off");
        }
    }
}

/// Address and port of a URI.
fn authority(uri: &str) -> Result<&str> {
    let rest = uri.split_once("://").map(|(_, rest)| rest);
    let authority = rest.and_then(|rest| rest.split('/').next());
    let authority = authority.map(|whole| whole.rsplit_once('@').map_or(whole, |(_, host)| host));
    authority.with_context(|| format!("find the address in {uri}"))
}

/// Takes connections until the proxy is dropped, and ends after the last of them.
fn accept(shared: &Arc<Shared>, listener: &TcpListener) {
    let mut pumps: Vec<JoinHandle<()>> = Vec::new();
    loop {
        let client = match listener.accept() {
            Ok((client, _)) => client,
            Err(error) => {
                eprintln!("the chaos proxy takes no connection: {error}");
                continue;
            }
        };
        if shared.state().closing {
            break;
        }
        pumps.retain(|pump| !pump.is_finished());
        match TcpStream::connect_timeout(&shared.broker, CONNECT) {
            Ok(broker) => match begin(shared, Ends { client, broker }) {
                Ok(new) => pumps.extend(new.into_iter().flatten()),
                Err(error) => eprintln!("the chaos proxy drops a connection: {error:#}"),
            },
            // The broker is away, and the client sees it.
            Err(_away) => reset_at_close(&client),
        }
    }
    for pump in pumps {
        if pump.join().is_err() {
            eprintln!("a pump of the chaos proxy broke off");
        }
    }
}

/// The pumps of a new connection; none where the broker is to be away.
fn begin(shared: &Arc<Shared>, ends: Ends) -> Result<Option<[JoinHandle<()>; 2]>> {
    ends.prepare()?;
    let ends = Arc::new(ends);
    let id = {
        let mut state = shared.state();
        if state.away {
            reset_at_close(&ends.client);
            reset_at_close(&ends.broker);
            return Ok(None);
        }
        state.started += 1;
        let id = state.started;
        state.lines.insert(id, Line::of(Arc::clone(&ends)));
        id
    };
    let start = |way| {
        let (shared, ends) = (Arc::clone(shared), Arc::clone(&ends));
        let thread = thread::Builder::new().name(format!("chaos-{id}"));
        thread.spawn(move || pump::pump(&shared, id, ends, way))
    };
    let first = start(Way::ToBroker).context("start a thread")?;
    match start(Way::ToClient) {
        Ok(second) => Ok(Some([first, second])),
        Err(error) => {
            end(&ends.client, Shutdown::Both);
            end(&ends.broker, Shutdown::Both);
            Err(error).context("start a thread")
        }
    }
}

impl State {
    /// Whether the pumps of this line are to end at once.
    fn is_over(&self, id: u64) -> bool {
        let line = self.lines.get(&id);
        self.closing || line.is_none_or(|line| line.condition == Condition::Cut)
    }
}

#[cfg(test)]
mod tests;
