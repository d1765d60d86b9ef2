//! What the turns of one request have used, added up.
//!
//! Numbers are summed, also those inside objects such as `prompt_tokens_details`; of anything else the last one stands. So
//! members that only one provider has (`cost`, `cache_read_input_tokens`) are right too.

use serde_json::{Map, Number, Value};

/// Adds one turn's `usage` to the sum.
pub(super) fn add(sum: &mut Option<Value>, usage: Option<Value>) {
    match (sum, usage) {
        (_, None | Some(Value::Null)) => {}
        (Some(sum), Some(usage)) => merge(sum, usage),
        (sum @ None, usage) => *sum = usage,
    }
}

fn merge(sum: &mut Value, more: Value) {
    match (sum, more) {
        (_, Value::Null) => {}
        (Value::Number(sum), Value::Number(more)) => *sum = added(sum, &more),
        (Value::Object(sum), Value::Object(more)) => members(sum, more),
        (sum, more) => *sum = more,
    }
}

fn members(sum: &mut Map<String, Value>, more: Map<String, Value>) {
    for (name, value) in more {
        match sum.get_mut(&name) {
            Some(old) => merge(old, value),
            None => {
                sum.insert(name, value);
            }
        }
    }
}

fn added(one: &Number, other: &Number) -> Number {
    let whole = one.as_u64().zip(other.as_u64());
    if let Some(sum) = whole.and_then(|(one, other)| one.checked_add(other)) {
        return sum.into();
    }
    let real = one.as_f64().zip(other.as_f64());
    let sum = real.and_then(|(one, other)| Number::from_f64(one + other));
    sum.unwrap_or_else(|| other.clone())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_are_summed_at_any_depth() {
        let mut sum = None;
        add(&mut sum, None);
        assert_eq!(sum, None);
        add(
            &mut sum,
            Some(json!({
                "prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12,
                "prompt_tokens_details": { "cached_tokens": 0 }, "completion_tokens_details": null,
                "cost": 0.5,
            })),
        );
        add(&mut sum, Some(Value::Null));
        add(
            &mut sum,
            Some(json!({
                "prompt_tokens": 20, "completion_tokens": 3, "total_tokens": 23,
                "prompt_tokens_details": { "cached_tokens": 8, "audio_tokens": null },
                "completion_tokens_details": { "reasoning_tokens": 4 },
                "cost": 1, "queue": "fast",
            })),
        );
        assert_eq!(
            sum,
            Some(json!({
                "prompt_tokens": 30, "completion_tokens": 5, "total_tokens": 35,
                "prompt_tokens_details": { "cached_tokens": 8, "audio_tokens": null },
                "completion_tokens_details": { "reasoning_tokens": 4 },
                "cost": 1.5, "queue": "fast",
            }))
        );
    }
}
