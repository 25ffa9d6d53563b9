//! The machine a figure was measured on. Never guesses: what cannot be read is `unknown`.

use std::fs;

/// What to state beside every figure.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// The processor's model name.
    pub processor: String,
    /// Cores this process may use; generator and server share them.
    pub cores: usize,
    /// Kernel release.
    pub kernel: String,
    /// `release` or `dev`.
    pub build: &'static str,
}

impl Machine {
    /// This machine.
    #[must_use]
    pub fn here() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_else(|_| "unknown".into());
        Self {
            processor: model.map_or_else(|| "unknown".into(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: kernel.trim().to_owned(),
            build: if cfg!(debug_assertions) { "dev" } else { "release" },
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}, {} cores (shared by generator and server), Linux {}, {} build", self.processor, self.cores, self.kernel, self.build)
    }
}
