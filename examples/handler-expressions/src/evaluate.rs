//! From a program to a number.

use crate::parse::{Expression, Function, Program};
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use coracle::host;

type Value = Result<f64, String>;

/// The value of a program's expression.
pub(crate) fn program(program: &Program<'_>) -> Value {
    evaluate(&program.expression, &program.functions, &[])
}

/// The value of an expression, in a function with these parameters.
fn evaluate(expression: &Expression<'_>, functions: &[Function<'_>], parameters: &[(&str, f64)]) -> Value {
    match expression {
        Expression::Number(number) => Ok(*number),
        Expression::Parameter(name) => {
            let found = parameters.iter().find(|(parameter, _)| parameter == name);
            found.map(|(_, value)| *value).ok_or_else(|| format!("there is no {name:?}"))
        }
        Expression::Binary(operator, left, right) => {
            let left = evaluate(left, functions, parameters)?;
            let right = evaluate(right, functions, parameters)?;
            Ok(match operator {
                '+' => left + right,
                '-' => left - right,
                '*' => left * right,
                '/' => left / right,
                '<' => f64::from(u8::from(left < right)),
                _ => f64::from(u8::from(left > right)),
            })
        }
        Expression::Call("if", arguments) => {
            let [condition, then, otherwise] = arguments.as_slice() else {
                return Err("if takes a condition and two values".to_string());
            };
            let chosen = if evaluate(condition, functions, parameters)? != 0.0 { then } else { otherwise };
            evaluate(chosen, functions, parameters)
        }
        Expression::Call(name, arguments) => {
            let values = arguments.iter().map(|argument| evaluate(argument, functions, parameters));
            call(name, &values.collect::<Result<Vec<f64>, String>>()?, functions)
        }
    }
}

fn call(name: &str, values: &[f64], functions: &[Function<'_>]) -> Value {
    let Some(function) = functions.iter().find(|function| function.name == name) else {
        return host::call(name, values).map_err(|error| format!("{name}: {error}"));
    };
    if function.parameters.len() != values.len() {
        return Err(format!("{name} takes {} values", function.parameters.len()));
    }
    let parameters: Vec<(&str, f64)> =
        function.parameters.iter().copied().zip(values.iter().copied()).collect();
    evaluate(&function.body, functions, &parameters)
}
