//! How far a failure reaches, and the codes that the command ends with.

/// How much of the program a failure takes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Nothing can be measured: settings, probe set or backend.
    Process,
    /// This checkpoint only; the others go on.
    Checkpoint,
}

/// The exit codes of the command, all below 100.
///
/// 1 is kept for `relstab check`: the network was measured and falls short.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[repr(u8)]
pub enum ExitCode {
    /// Measured.
    #[default]
    Success = 0,
    /// `check`: a network falls short of a limit.
    FallsShort = 1,
    /// A command line or a setting that cannot be used.
    Usage = 2,
    /// A probe set that cannot be used.
    Probe = 3,
    /// A file that is no measurable ONNX network, or that its engine could not load or run.
    Model = 4,
    /// Network and probe set do not fit each other.
    Mismatch = 5,
    /// A backend, library or provider that cannot be had.
    Unavailable = 6,
    /// The network's outputs are NaN or infinite.
    NonFinite = 7,
    /// `R_f` is undefined: nothing moves under noise; or a quantity to check is not there.
    Undefined = 8,
    /// A law that cannot be fitted, read or applied.
    Law = 9,
    /// A file could not be read or written.
    Io = 10,
    /// `watch --once`, `--until`, `--until-idle`, `sweep`: some checkpoints or points failed, the others were measured.
    SomeFailed = 11,
    /// A journal cannot be used, is in use by another daemon, or does not know the run.
    Journal = 12,
    /// `wait`: nothing came in time.
    TimedOut = 13,
    /// `wait`: the run should stop.
    Stopped = 14,
}
