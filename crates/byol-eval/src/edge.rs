//! Whether a chosen value lies at the edge of its grid, where a better one may lie outside.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A value that was best at an end of its grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edge {
    /// Which setting: `base_learning_rate`, `learning_rate`, `weight_decay`, `epochs` or `l2`.
    pub setting: String,
    /// What was chosen.
    pub chosen: f64,
    /// Which end of the grid.
    pub at: End,
    /// The value to try next: the ratio of the last two, once more.
    pub next: f64,
}

/// An end of a grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum End {
    /// The smallest value.
    Lowest,
    /// The largest value.
    Highest,
}

impl Edge {
    /// Whether `chosen` lies at an end of a grid whose values have these scores, several where other settings differ. A value
    /// that others match is no hint of more outside, nor is one that fewer than two share the grid with; below 0 nothing is tried.
    pub fn of(setting: &str, chosen: f64, scored: &[(f64, f64)]) -> Option<Self> {
        let best_of = |wanted: &dyn Fn(f64) -> bool| {
            scored.iter().filter(|(value, _)| wanted(*value)).map(|(_, score)| *score).fold(f64::MIN, f64::max)
        };
        let mut grid: Vec<f64> = scored.iter().map(|(value, _)| *value).collect();
        grid.sort_unstable_by(f64::total_cmp);
        grid.dedup();
        if grid.len() < 2 || best_of(&|value| value == chosen) <= best_of(&|value| value != chosen) {
            return None;
        }
        let (at, neighbour) = if chosen == grid[0] {
            (End::Lowest, grid[1])
        } else if chosen == grid[grid.len() - 1] {
            (End::Highest, grid[grid.len() - 2])
        } else {
            return None;
        };
        if chosen <= 0.0 {
            return None;
        }
        let ratio = if neighbour > 0.0 { chosen / neighbour } else { 3.0 };
        // Two digits are enough for a value to try.
        let next = format!("{:.1e}", chosen * ratio).parse().unwrap_or(chosen * ratio);
        Some(Self { setting: setting.to_owned(), chosen, at, next })
    }

    /// Those in what was chosen, see [`note`].
    pub fn read(chosen: &Value) -> Vec<Self> {
        chosen.get("edges").and_then(|edges| serde_json::from_value(edges.clone()).ok()).unwrap_or_default()
    }
}

/// Adds to what was chosen, a JSON object, which of it lies at an edge.
pub(super) fn note<const N: usize>(chosen: &mut Value, edges: [Option<Edge>; N]) {
    let edges: Vec<Edge> = edges.into_iter().flatten().collect();
    if !edges.is_empty() {
        chosen["edges"] = serde_json::to_value(edges).expect("plain fields have a JSON form");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clear_winner_at_an_end_is_an_edge() {
        let edge = |chosen, scored: &[(f64, f64)]| Edge::of("rate", chosen, scored).map(|edge| (edge.at, edge.next));
        let grid = [(0.1, 50.0), (0.4, 70.0), (0.2, 60.0)];
        assert_eq!(edge(0.4, &grid), Some((End::Highest, 0.8)));
        assert_eq!(edge(0.2, &[(0.1, 50.0), (0.4, 60.0), (0.2, 61.0)]), None, "inside");
        assert_eq!(edge(0.4, &[(0.1, 50.0), (0.4, 70.0), (0.2, 70.0)]), None, "a tie");
        assert_eq!(edge(0.01, &[(0.01, 9.0), (0.03, 8.0)]), Some((End::Lowest, 0.0033)));
        assert_eq!(edge(0.1, &[(0.1, 9.0)]), None, "no grid");
        assert_eq!(edge(0.0, &[(0.0, 9.0), (1e-4, 8.0)]), None, "nothing below 0");
        assert_eq!(edge(1e-4, &[(0.0, 8.0), (1e-4, 9.0)]), Some((End::Highest, 3e-4)));
        let two = [(0.1, 50.0), (0.1, 80.0), (0.2, 79.0), (0.2, 10.0)];
        assert_eq!(edge(0.1, &two), Some((End::Lowest, 0.05)), "the best of each value counts");
    }

    #[test]
    fn edges_are_read_back_from_what_was_chosen() {
        let mut chosen = serde_json::json!({"l2": 1.0});
        note(&mut chosen, [None]);
        assert_eq!((Edge::read(&chosen), chosen.get("edges")), (vec![], None));
        let edge = Edge::of("l2", 10.0, &[(1.0, 1.0), (10.0, 2.0)]);
        note(&mut chosen, [edge.clone(), None]);
        assert_eq!(Edge::read(&chosen), [edge.unwrap()]);
    }
}
