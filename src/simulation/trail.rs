//! What happened last, for a failing seed. Costs nothing unless somebody asked for it.

use std::collections::VecDeque;

/// Lines kept, at most.
const LINES_MAX: usize = 2_000;

/// The last things that happened.
#[derive(Debug)]
pub(super) struct Trail {
    lines: Option<VecDeque<String>>,
}

impl Trail {
    pub(super) fn new(wanted: bool) -> Self {
        Self { lines: wanted.then(VecDeque::new) }
    }

    /// Notes a line, at that time.
    pub(super) fn note(&mut self, now: u64, line: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.lines {
            if lines.len() == LINES_MAX {
                lines.pop_front();
            }
            lines.push_back(format!("{now:>7} ms  {}", line()));
        }
    }

    pub(super) fn lines(self: &Trail) -> Vec<String> {
        self.lines.iter().flatten().cloned().collect()
    }
}
