//! [`Call`]: one call of the script, about one subject or several, and its answer read.

use ::redis::{Cmd, Value};

use super::script::{Op, Reply, SCRIPT};

/// What is asked about a subject.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call<'a> {
    pub(super) op: Op,
    pub(super) subject: &'a str,
    pub(super) cost: u64,
    /// The number of quotas, and five words for each.
    pub(super) quotas: &'a [String],
    /// To settle: the time of the charge, and the mark of each quota. To lease: the width of a slot in microseconds, the most that may
    /// be lent, and how much is wanted beside the cost. Nothing where several subjects are asked about.
    pub(super) more: &'a [u64],
}

/// The command that asks all this at once, by the script's hash, or with the whole script.
pub(super) fn command(calls: &[Call<'_>], sha: Option<&str>) -> Cmd {
    let mut command = match sha {
        Some(sha) => ::redis::cmd("EVALSHA").arg(sha).to_owned(),
        None => ::redis::cmd("EVAL").arg(SCRIPT).to_owned(),
    };
    command.arg(calls.len());
    for call in calls {
        command.arg(call.subject);
    }
    for Call { op, cost, quotas, more, .. } in calls {
        // A cost that no double tells exactly is above every limit that there is.
        command.arg(op.as_str()).arg((*cost).min(1 << 53));
        for word in *quotas {
            command.arg(word);
        }
        for number in *more {
            command.arg(*number);
        }
    }
    command
}

/// What was answered to each; `None` if that is no answer of the script.
pub(super) fn read(calls: &[Call<'_>], value: &Value) -> Option<Vec<Reply>> {
    let Value::Array(values) = value else { return None };
    match calls {
        [only] => Some(vec![read_one(only, values)?]),
        _ if values.len() == calls.len() => {
            let each = calls.iter().zip(values).map(|(call, value)| match value {
                Value::Array(values) => read_one(call, values),
                _ => None,
            });
            each.collect()
        }
        _ => None,
    }
}

fn read_one(call: &Call<'_>, values: &[Value]) -> Option<Reply> {
    let number = |value: &Value| if let Value::Int(number) = value { Some(*number) } else { None };
    let numbers: Vec<i64> = values.iter().map(number).collect::<Option<_>>()?;
    Reply::read(&numbers, (call.quotas.len() - 1) / 5)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ints(numbers: &[i64]) -> Value {
        Value::Array(numbers.iter().map(|&number| Value::Int(number)).collect())
    }

    /// The answer to a command whose hash a server does not know.
    #[test]
    fn an_answer_that_is_none_is_not_taken_for_one() {
        let quotas: Vec<String> = ["1", "10/second", "b", "1", "1", "1"].map(str::to_owned).into();
        let call = Call { op: Op::Check, subject: "subject", cost: 1, quotas: &quotas, more: &[] };
        let good = ints(&[1, 5, 9, 0, 0]);
        assert!(read(&[call], &good).is_some());
        for value in
            [Value::Okay, Value::Nil, ints(&[]), ints(&[1, 5, 9, 0]), ints(&[1, 5, -9, 0, 0]), ints(&[1, 5, 9, 0, -2])]
        {
            assert!(read(&[call], &value).is_none(), "{value:?}");
            assert!(read(&[call, call], &Value::Array(vec![good.clone(), value])).is_none());
        }
        assert!(read(&[call, call], &Value::Array(vec![good.clone(), good.clone()])).is_some());
        for one in [good.clone(), Value::Array(vec![good])] {
            assert!(read(&[call, call], &one).is_none());
        }
    }
}
