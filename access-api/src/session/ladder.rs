//! The warnings of a client that falls behind, as rungs of a ladder: `slow_down` at 50 %, `stall_warning` at 60 %.
//! A client that passes both at once is sent both. Below 25 % it leaves the ladder, so that a client that hovers
//! about a threshold is not warned again and again.

/// From this percentage on a client has been sent `slow_down`.
pub const SLOW_DOWN: u8 = 50;
/// From this percentage on a client has been sent `stall_warning`, and gets only the newest results.
pub const STALL: u8 = 60;
/// Below this percentage a client counts as keeping up again.
const RECOVERED: u8 = 25;

/// Where a client stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rung {
    /// It keeps up.
    #[default]
    Flowing,
    /// It was sent `slow_down`.
    SlowDown,
    /// It was sent `stall_warning`.
    Stalled,
}

impl Rung {
    /// Takes note that the client is `percent` behind. Returns the rungs that it reaches by that, in their order.
    pub fn observe(&mut self, percent: u8) -> &'static [Self] {
        let reached = match percent {
            STALL.. => Self::Stalled,
            SLOW_DOWN.. => Self::SlowDown,
            0..RECOVERED => {
                *self = Self::Flowing;
                Self::Flowing
            }
            _ => Self::Flowing,
        };
        let climbed: &[Self] = match (*self, reached) {
            (Self::Flowing, Self::SlowDown) => &[Self::SlowDown],
            (Self::Flowing, Self::Stalled) => &[Self::SlowDown, Self::Stalled],
            (Self::SlowDown, Self::Stalled) => &[Self::Stalled],
            (_, Self::Flowing)
            | (Self::SlowDown | Self::Stalled, Self::SlowDown)
            | (Self::Stalled, Self::Stalled) => &[],
        };
        *self = (*self).max(reached);
        climbed
    }

    /// The percentage of the write deadline at which the next step is due; at 100 the connection ends.
    pub const fn next_percent(self) -> u32 {
        match self {
            Self::Flowing => SLOW_DOWN as u32,
            Self::SlowDown => STALL as u32,
            Self::Stalled => 100,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_client_that_hovers_about_a_threshold_is_warned_once() {
        let mut rung = Rung::default();
        let climbed: Vec<_> =
            [49, 50, 49, 51, 30, 55].iter().flat_map(|&p| rung.observe(p)).collect();
        assert_eq!(climbed, [&Rung::SlowDown]);
        rung.observe(24);
        assert_eq!(rung.observe(50), [Rung::SlowDown]);
    }

    proptest! {
        #[test]
        fn nobody_is_stalled_without_having_been_told_to_slow_down(percents in prop::collection::vec(0u8..=100, 0..200)) {
            let mut rung = Rung::default();
            let mut told = false;
            for percent in percents {
                for climbed in rung.observe(percent) {
                    match climbed {
                        Rung::Flowing => prop_assert!(false, "flowing is no warning"),
                        Rung::SlowDown => told = true,
                        Rung::Stalled => prop_assert!(std::mem::take(&mut told)),
                    }
                }
                prop_assert!(percent < STALL || rung == Rung::Stalled);
                prop_assert!(percent >= RECOVERED || rung == Rung::Flowing);
            }
        }
    }
}
