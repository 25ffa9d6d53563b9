//! Several figures of the same thing: their middle, and how far they are from each other. Never judges them.

use crate::compare::median;

/// The middle, the least and the most of some figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Spread {
    /// How many there are, at least 1.
    pub count: usize,
    /// The middle one, or the mean of the two in the middle.
    pub median: u64,
    /// The least.
    pub min: u64,
    /// The most.
    pub max: u64,
}

impl Spread {
    /// Of these; none if there are none.
    #[must_use]
    pub fn of(figures: impl IntoIterator<Item = u64>) -> Option<Self> {
        let figures: Vec<u64> = figures.into_iter().collect();
        let (min, max) = (*figures.iter().min()?, *figures.iter().max()?);
        let middle = median(figures.iter().map(|figure| *figure as f64).collect());
        Some(Self { count: figures.len(), median: middle as u64, min, max })
    }

    /// Median, least and most, each in words.
    pub(super) fn cells(this: Option<Self>, words: impl Fn(u64) -> String) -> [String; 3] {
        this.map_or_else(|| ["-", "-", "-"].map(str::to_owned), |spread| [spread.median, spread.min, spread.max].map(words))
    }
}

/// How often the median of one is in that of the other, in words.
pub(super) fn ratio(of: Option<Spread>, to: Option<Spread>) -> String {
    match (of, to) {
        (Some(of), Some(to)) if to.median > 0 => format!("{:.2}", of.median as f64 / to.median as f64),
        _ => "-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_figures_that_there_are() {
        assert_eq!(Spread::of([]), None);
        let spread = Spread::of([7, 1, 4, 5]);
        assert_eq!(spread, Some(Spread { count: 4, median: 4, min: 1, max: 7 }));
        assert_eq!((ratio(Spread::of([6]), Spread::of([4])), ratio(spread, Spread::of([0]))), ("1.50".to_owned(), "-".to_owned()));
    }
}
