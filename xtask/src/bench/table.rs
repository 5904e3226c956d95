//! Results as a table of Markdown, and goals beside what was measured.

use super::contender::Results;

/// The middle one, or the mean of the two in the middle; 0 of none.
pub fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => 0.0,
        count if count % 2 == 1 => values[count / 2],
        count => f64::midpoint(values[count / 2 - 1], values[count / 2]),
    }
}

impl Results {
    /// Median.
    pub fn seconds(&self) -> f64 {
        median(self.runs.iter().map(|run| run.seconds))
    }

    /// Median.
    pub fn stored_bytes(&self) -> f64 {
        median(self.runs.iter().map(|run| run.stored_bytes as f64))
    }
}

/// One line for each contender; ratios are its seconds by those of `ours`.
pub fn print(results: &[Results], ours: &str) {
    let base = results.iter().find(|result| result.name == ours).map_or(0.0, Results::seconds);
    println!(
        "\n| | runs | median s | least to most | by ours | CPU s | stored MB |\n|---|---|---|---|---|---|---|"
    );
    for result in results.iter().filter(|result| !result.runs.is_empty()) {
        let seconds: Vec<f64> = result.runs.iter().map(|run| run.seconds).collect();
        let least = seconds.iter().copied().fold(f64::INFINITY, f64::min);
        let most = seconds.iter().copied().fold(0.0, f64::max);
        println!(
            "| {} | {} | {:.1} | {least:.1} to {most:.1} | {:.2} | {:.1} | {:.1} |",
            result.name,
            result.runs.len(),
            result.seconds(),
            result.seconds() / base,
            median(result.runs.iter().map(|run| run.cpu_seconds)),
            result.stored_bytes() / 1e6,
        );
    }
}

/// One goal: met when what was measured is at least what is wanted.
pub fn goal(what: &str, wanted: f64, measured: f64) {
    let verdict = if measured >= wanted { "met" } else { "missed" };
    println!("goal: {what}: wanted {wanted:.2}, measured {measured:.2}: {verdict}");
}

/// A goal of the other kind: met when what was measured is at most what is wanted.
pub fn at_most(what: &str, wanted: f64, measured: f64) {
    let verdict = if measured <= wanted { "met" } else { "missed" };
    println!("goal: {what}: at most {wanted:.2}, measured {measured:.2}: {verdict}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        assert_eq!(median([3.0, 1.0, 9.0].into_iter()), 3.0);
        assert_eq!(median([4.0, 1.0].into_iter()), 2.5);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
