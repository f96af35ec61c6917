//! What each subcommand does, and in which order the process gives up what it does not need.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::CommandFactory;
use jailfleet::job::Name;
use jailfleet::settings::{
    AmqpSection, LaneShares, SourceText, WorkerSettings, env_pairs, worker_settings,
};
use jailfleet_program::{Clock, logging, output};
use jailfleet_queue::amqp::{self, ConsumePlan};
use jailfleet_queue::{Nudge, embedded};
use jailfleet_sandbox::client::{self, StartWarden, WardenProcess};
use jailfleet_sandbox::protocol::Order;
use jailfleet_sandbox::warden::{WORKER_SCORE, protect_from_oom};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};

use crate::admin::Admin;
use crate::canary::CanaryError;
use crate::cli::{Cli, Command, Common, Exit, LocalArgs};
use crate::confine;
use crate::metrics::Metrics;
use crate::privileges::{self, Dropped};
use crate::programs::Offer;
use crate::serve::{self, Parts, ServeError, Served};
use crate::supervisor::Ending;
use crate::tenancy::{self, Client};
use crate::{doctor, fitness, local, topology};

/// Threads of the worker's own runtime: it waits for the kernel and the broker, it computes little.
const THREADS: usize = 2;
/// Their stacks. Nothing recurses deeper than the capped depth of a message, but an attempt is one deep future, which
/// without optimisation fills more than half a MiB where a run is tried again. What is not touched costs nothing.
const STACK_BYTES: usize = 2 << 20;
/// How long blocking reads of the input may go on after everything else has ended.
const RUNTIME_END: Duration = Duration::from_millis(200);
/// How long the warden may take to clean up after the worker is done.
const WARDEN_END: Duration = Duration::from_secs(20);

/// A failure with the exit code that it means.
#[derive(Debug)]
pub struct Failure {
    /// How the process ends.
    pub exit: Exit,
    /// What to say; fits after "failed to".
    pub error: anyhow::Error,
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self {
            exit: Exit::Failed,
            error: error.into(),
        }
    }
}

/// The same failure with another exit code.
fn ending_with<E: Into<anyhow::Error>>(exit: Exit) -> impl FnOnce(E) -> Failure {
    move |error| Failure {
        exit,
        error: error.into(),
    }
}

/// Carries out the command line.
///
/// # Errors
/// [`Failure`]: what to say, and the exit code.
pub fn carry_out(cli: &Cli) -> Result<Exit, Failure> {
    let common = cli.common();
    match &cli.command {
        None => consume(&common),
        Some(Command::Local(args)) => run_local(&common, args),
        Some(Command::Doctor { json, .. }) => {
            let settings = read_settings(&common)?;
            Ok(doctor::examine(&settings, *json)?)
        }
        Some(Command::Topology(args)) => {
            let mut settings = read_settings(&common)?;
            read_credentials(&mut settings)?;
            let clients = read_clients(&settings)?;
            Ok(topology::print(&settings, &clients, args)?)
        }
        Some(Command::CheckConfig(_)) => {
            let mut settings = read_settings(&common)?;
            read_credentials(&mut settings)?;
            read_clients(&settings)?;
            for caution in settings.cautions() {
                eprintln!("caution: {caution}");
            }
            eprintln!("the configuration is good");
            Ok(Exit::Done)
        }
        Some(Command::PrintConfig(_)) => {
            let mut settings = read_settings(&common)?;
            read_credentials(&mut settings)?;
            output::print(settings.to_toml_redacted().as_bytes())?;
            Ok(Exit::Done)
        }
        Some(Command::Completion { shell }) => {
            let mut command = Cli::command();
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut command, "jailfleet-worker", &mut script);
            output::print(&script)?;
            Ok(Exit::Done)
        }
    }
}

fn read_settings(common: &Common) -> Result<WorkerSettings, Failure> {
    let bad = |error: anyhow::Error| Failure {
        exit: Exit::BadConfig,
        error,
    };
    let text = match &common.config {
        Some(path) => Some(std::fs::read_to_string(path).map_err(|error| {
            bad(anyhow::Error::new(error).context(format!("read {}", path.display())))
        })?),
        None => None,
    };
    let name = common
        .config
        .as_ref()
        .map(|path| path.display().to_string());
    let file = match (&name, &text) {
        (Some(name), Some(text)) => Some(SourceText { name, text }),
        (None, _) | (_, None) => None,
    };
    let env = env_pairs(std::env::vars_os());
    let settings = worker_settings(file, &env, &common.flags())
        .map_err(|mistakes| bad(anyhow::anyhow!("read the configuration:\n{mistakes}")))?;
    logging::check(&settings.log).map_err(|error| bad(error.into()))?;
    Ok(settings)
}

/// A worker that has its warden and no privileges any more.
struct Started {
    settings: Arc<WorkerSettings>,
    offer: Offer,
    slots: usize,
    warden: WardenProcess,
    socket: OwnedFd,
    clock: Clock,
}

/// Starts the warden and gives up root, in this order and before any other thread exists.
fn start(common: &Common, settings: WorkerSettings) -> Result<Started, Failure> {
    let clock = Clock::start();
    let offer = Offer::survey(&settings).map_err(ending_with(Exit::Unfit))?;
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let slots = settings.worker.slots.count(cores);
    fitness::check_memory(&settings, &offer, slots, fitness::memory_bytes())
        .map_err(ending_with(Exit::Unfit))?;
    // While we are root, who may; the warden sees to itself.
    protect_from_oom(WORKER_SCORE);
    let warden = client::start(&StartWarden {
        warden_path: warden_path(&settings)?,
        config_file: common.config.clone(),
        flags: common.flags(),
    })?;
    let socket = warden.socket().try_clone_to_owned()?;
    match privileges::give_up(&settings.worker.user)? {
        Dropped::To(uid) => tracing::debug!(%uid, "root was given up"),
        Dropped::NothingToDrop => tracing::debug!("there was no root to give up"),
    }
    confine::shut_off(&settings)?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        warden = warden.pid(),
        "the worker runs"
    );
    Ok(Started {
        settings: Arc::new(settings),
        offer,
        slots,
        warden,
        socket,
        clock,
    })
}

fn warden_path(settings: &WorkerSettings) -> io::Result<PathBuf> {
    match &settings.warden.path {
        Some(path) => Ok(PathBuf::from(path)),
        None => {
            let own = std::env::current_exe()?;
            Ok(own
                .parent()
                .unwrap_or(Path::new("/"))
                .join("jailfleet-warden"))
        }
    }
}

fn on_runtime(work: impl Future<Output = Result<Exit, Failure>>) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .max_blocking_threads(THREADS)
        .thread_stack_size(STACK_BYTES)
        .thread_name("jailfleet-worker")
        .enable_all()
        .build()?;
    let done = runtime.block_on(work);
    // A thread that reads a terminal cannot be told to stop; it must not keep the process.
    runtime.shutdown_timeout(RUNTIME_END);
    done
}

/// Consumes from AMQP until told to stop.
fn consume(common: &Common) -> Result<Exit, Failure> {
    let mut settings = read_settings(common)?;
    logging::start(&settings.log)?;
    read_credentials(&mut settings)?;
    let clients = read_clients(&settings)?;
    let Started {
        settings,
        offer,
        slots,
        warden,
        socket,
        clock,
    } = start(common, settings)?;
    on_runtime(async move {
        let shares = settings.worker.lanes.split(slots);
        let plan = ConsumePlan {
            pool: settings.worker.pool.clone(),
            slots: shares,
        };
        let names: Vec<Name> = clients
            .iter()
            .filter_map(|client| client.name.clone())
            .collect();
        let metrics = Arc::new(Metrics::of(&names)?);
        let admin = Admin::bind(settings.admin.listen).await?;
        tracing::info!(address = %admin.address()?, "the admin port is open");
        let (stop, stops) = mpsc::channel(4);
        let mut signals = JoinSet::new();
        signals.spawn(pass_signals_on(stop));
        let weights = tenancy::weights(&settings);
        let parts = Parts {
            settings,
            offer,
            shares,
            weights,
            warden: socket,
            metrics,
            clock,
        };
        let standing = match serve::stand(parts).await {
            Ok(standing) => standing,
            Err(error) => {
                finish(warden).await;
                return Err(unfit(error));
            }
        };
        // Not a moment earlier: from here on the broker hands us jobs.
        let served = open_doors(clients, &plan)?;
        let nudges = served.iter().map(|served| served.doors.sessions.nudge());
        signals.spawn(pass_hangups_on(nudges.collect()));
        let ending = serve::run(standing, served, Some(admin), stops).await;
        signals.shutdown().await;
        finish(warden).await;
        Ok(exit_of(ending))
    })
}

/// Runs a file of jobs through the embedded door.
fn run_local(common: &Common, args: &LocalArgs) -> Result<Exit, Failure> {
    let settings = read_settings(common)?;
    logging::start(&settings.log)?;
    let files = local::Files::open(args, nix::unistd::geteuid().is_root())?;
    let Started {
        settings,
        offer,
        slots,
        warden,
        socket,
        clock,
    } = start(common, settings)?;
    on_runtime(async move {
        // Nobody else waits for these slots: each lane may fill them all.
        let shares = LaneShares {
            interactive: slots,
            bulk: slots,
        };
        let plan = ConsumePlan {
            pool: settings.worker.pool.clone(),
            slots: shares,
        };
        let metrics = Arc::new(Metrics::new()?);
        let (stop, stops) = mpsc::channel(4);
        let mut signals = JoinSet::new();
        signals.spawn(pass_signals_on(stop.clone()));
        let cap = settings.caps.message_bytes;
        let parts = Parts {
            settings,
            offer,
            shares,
            // A file of jobs is nobody's tenant.
            weights: vec![1],
            warden: socket,
            metrics,
            clock,
        };
        let standing = match serve::stand(parts).await {
            Ok(standing) => standing,
            Err(error) => {
                finish(warden).await;
                return Err(unfit(error));
            }
        };
        let (doors, producer) = embedded::pair(local::DOOR_CAPACITY, &plan);
        let served = vec![Served { name: None, doors }];
        let serving = serve::run(standing, served, None, stops);
        let pumping = local::pump(files, producer, plan.pool.clone(), cap, clock, stop);
        let (ending, pumped) = tokio::join!(serving, pumping);
        signals.shutdown().await;
        finish(warden).await;
        Ok(local::exit_of(ending, pumped?))
    })
}

fn unfit(error: ServeError) -> Failure {
    let exit = match error {
        ServeError::Unfit(_) => Exit::Unfit,
        ServeError::Slots(_) | ServeError::WardenSlow => Exit::WardenGone,
        ServeError::Canary(CanaryError::Escaped(_)) => Exit::Breached,
        ServeError::Canary(CanaryError::Unproven) => Exit::Unfit,
        ServeError::Canary(CanaryError::Slot(_)) => Exit::WardenGone,
        ServeError::Digest => Exit::Failed,
    };
    Failure {
        exit,
        error: error.into(),
    }
}

const fn exit_of(ending: Ending) -> Exit {
    match ending {
        Ending::Clean => Exit::Done,
        Ending::HandedBack => Exit::HandedBack,
        Ending::WardenGone => Exit::WardenGone,
        Ending::Breached => Exit::Breached,
        Ending::Broken => Exit::Failed,
    }
}

/// The broker's address and password may stand in files of their own, for secrets that are mounted.
/// They are read here while we may still be root, and again at each connection.
fn read_credentials(settings: &mut WorkerSettings) -> Result<(), Failure> {
    read_credential_files(&mut settings.amqp).map_err(bad_config)
}

/// Everybody whom the worker serves, with their credentials.
fn read_clients(settings: &WorkerSettings) -> Result<Vec<Client>, Failure> {
    let mut clients = tenancy::clients(settings);
    for client in &mut clients {
        let read = read_credential_files(&mut client.amqp);
        read.map_err(|error| match &client.name {
            Some(name) => {
                bad_config(error.context(format!("read the credentials of tenant {name}")))
            }
            None => bad_config(error),
        })?;
    }
    Ok(clients)
}

fn read_credential_files(amqp: &mut AmqpSection) -> anyhow::Result<()> {
    for (file, path) in amqp.credential_files() {
        let text = std::fs::read_to_string(&path);
        let text = text.with_context(|| format!("read {} {path}", file.key()))?;
        amqp.take_credentials(file, &text)?;
    }
    Ok(())
}

fn bad_config(error: anyhow::Error) -> Failure {
    let exit = Exit::BadConfig;
    Failure { exit, error }
}

/// From here on the sessions of all of them connect, and connect again.
fn open_doors(clients: Vec<Client>, plan: &ConsumePlan) -> Result<Vec<Served>, amqp::OpenError> {
    let open = |Client { name, amqp }: Client| {
        let _span = tenancy::span(name.as_ref()).entered();
        let doors = amqp::open_and_reap(&amqp, plan)?;
        Ok(Served { name, doors })
    };
    clients.into_iter().map(open).collect()
}

/// Every SIGTERM and SIGINT is one request to stop.
async fn pass_signals_on(stop: mpsc::Sender<()>) {
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        tracing::error!("signals cannot be received; SIGTERM will end the worker without a drain");
        return;
    };
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        if stop.send(()).await.is_err() {
            return; // The loop has ended.
        }
    }
}

/// Every SIGHUP makes the sessions that wait connect at once, with the credentials that their files
/// hold now. Those that are up stay: to end them would hand running jobs back.
async fn pass_hangups_on(nudges: Vec<Nudge>) {
    let Ok(mut hangup) = signal(SignalKind::hangup()) else {
        tracing::error!("SIGHUP cannot be received; it will end the worker");
        return;
    };
    while hangup.recv().await.is_some() {
        tracing::info!("told by SIGHUP: what is not connected tries again now");
        nudges.iter().for_each(Nudge::now);
    }
}

/// Waits for the warden to clean up and end; our end of its socket closes with this.
async fn finish(mut warden: WardenProcess) {
    // Whoever served has told it already; a worker that never came to serve has not.
    if let Err(error) = client::send(warden.socket(), &Order::Stop, &[]) {
        tracing::debug!(%error, "the warden is ending already");
    }
    let mut look = interval(Duration::from_millis(10));
    let ended = timeout(WARDEN_END, async {
        loop {
            look.tick().await;
            match warden.try_wait() {
                Ok(None) => {}
                other => break other,
            }
        }
    });
    match ended.await {
        Ok(Ok(Some(status))) if ExitStatus::success(&status) => {}
        Ok(Ok(status)) => tracing::error!(?status, "the warden ended with a failure"),
        Ok(Err(error)) => tracing::error!(%error, "the warden could not be waited for"),
        Err(_elapsed) => tracing::error!("the warden did not end in time; it is left behind"),
    }
}
