//! Sequences behind a restore to a point in time.
//!
//! Sequences are kept at each segment's end. A target inside a segment has its rows as of the target, and its sequences as
//! of that end: usually ahead, which skips numbers and harms nobody. But one that was set back after the target
//! (`TRUNCATE … RESTART IDENTITY`, `setval`) would hand out numbers again that restored rows use.

use crate::StepError;
use crate::ports::{ChangeTarget, NumberInUse};
use crate::provided_rows::StaysAway;
use crate::restore_backup::Restore;
use keepsake_domain::{RestoredDatabase, SequenceValue};

/// Moves sequences behind the numbers that rows use, in the target and in what it is expected to hold. Called when the
/// keys stand. A second call moves nothing.
///
/// # Errors
/// As the target says.
pub async fn raise_sequences(
    restore: &Restore,
    target: &dyn ChangeTarget,
    expected: &mut RestoredDatabase,
) -> Result<(), StepError> {
    let away = StaysAway::read(restore).await?;
    let mut raised = Vec::new();
    for used in target.numbers_in_use().await? {
        let value = expected.sequences.iter_mut().find(|value| value.sequence == used.sequence);
        let Some(value) = value.filter(|value| !away.has_sequence(value)) else { continue };
        if hands_out_again(value, &used) {
            tracing::info!(
                sequence = used.sequence.quoted(),
                number = used.number,
                "a sequence was set back after the target"
            );
            (value.last_value, value.is_called) = (used.number, true);
            raised.push(value.clone());
        }
    }
    Ok(restore.target.set_sequences(&raised).await?)
}

fn hands_out_again(value: &SequenceValue, used: &NumberInUse) -> bool {
    let is_before =
        if used.counts_down { value.last_value > used.number } else { value.last_value < used.number };
    is_before || (value.last_value == used.number && !value.is_called)
}

#[cfg(test)]
mod tests {
    use super::*;
    use keepsake_domain::SequenceName;

    #[test]
    fn a_sequence_moves_only_where_it_would_hand_out_a_number_again() {
        let sequence = SequenceName { schema: "public".to_owned(), name: "s".to_owned() };
        let again = |last_value, is_called, number, counts_down| {
            let value = SequenceValue { sequence: sequence.clone(), last_value, is_called };
            hands_out_again(&value, &NumberInUse { sequence: sequence.clone(), number, counts_down })
        };
        assert!(again(24, true, 44, false));
        assert!(again(44, false, 44, false));
        assert!(!again(44, true, 44, false));
        assert!(!again(50, true, 44, false));
        assert!(again(-24, true, -44, true));
        assert!(!again(-50, true, -44, true));
    }
}
