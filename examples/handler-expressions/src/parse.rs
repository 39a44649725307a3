//! From text to a program.

use alloc::boxed::Box;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;

/// Functions, and the expression in which they are used.
pub(crate) struct Program<'a> {
    pub(crate) functions: Vec<Function<'a>>,
    pub(crate) expression: Expression<'a>,
}

/// `name(parameter, …) = body`
pub(crate) struct Function<'a> {
    pub(crate) name: &'a str,
    pub(crate) parameters: Vec<&'a str>,
    pub(crate) body: Expression<'a>,
}

pub(crate) enum Expression<'a> {
    Number(f64),
    Parameter(&'a str),
    Binary(char, Box<Expression<'a>>, Box<Expression<'a>>),
    Call(&'a str, Vec<Expression<'a>>),
}

/// `function; function; … expression`
pub(crate) fn program(source: &str) -> Result<Program<'_>, String> {
    let mut parts: Vec<&str> = source.split(';').collect();
    let last = parts.pop().unwrap_or_default();
    let functions = parts.into_iter().map(function).collect::<Result<_, _>>()?;
    Ok(Program { functions, expression: whole(last)? })
}

fn function(source: &str) -> Result<Function<'_>, String> {
    let (head, body) = source.split_once('=').ok_or_else(|| format!("{source:?} defines nothing"))?;
    match whole(head)? {
        Expression::Call(name, parameters) => {
            let parameters = parameters.into_iter().map(|parameter| match parameter {
                Expression::Parameter(name) => Ok(name),
                _ => Err(format!("{head:?} has a parameter that is not a name")),
            });
            Ok(Function { name, parameters: parameters.collect::<Result<_, _>>()?, body: whole(body)? })
        }
        _ => Err(format!("{head:?} is not a function")),
    }
}

/// All of a text as one expression.
fn whole(source: &str) -> Result<Expression<'_>, String> {
    let mut rest = source.trim();
    let expression = comparison(&mut rest)?;
    if rest.is_empty() { Ok(expression) } else { Err(format!("unexpected: {rest:?}")) }
}

fn comparison<'a>(rest: &mut &'a str) -> Result<Expression<'a>, String> {
    binary(rest, &['<', '>'], sum)
}

fn sum<'a>(rest: &mut &'a str) -> Result<Expression<'a>, String> {
    binary(rest, &['+', '-'], product)
}

fn product<'a>(rest: &mut &'a str) -> Result<Expression<'a>, String> {
    binary(rest, &['*', '/'], single)
}

/// Operands between operators, from the left.
fn binary<'a>(
    rest: &mut &'a str,
    operators: &[char],
    operand: fn(&mut &'a str) -> Result<Expression<'a>, String>,
) -> Result<Expression<'a>, String> {
    let mut left = operand(rest)?;
    while let Some(operator) = rest.chars().next().filter(|next| operators.contains(next)) {
        skip(rest, 1);
        left = Expression::Binary(operator, Box::new(left), Box::new(operand(rest)?));
    }
    Ok(left)
}

fn single<'a>(rest: &mut &'a str) -> Result<Expression<'a>, String> {
    match rest.chars().next() {
        Some('-') => {
            skip(rest, 1);
            Ok(Expression::Binary('-', Box::new(Expression::Number(0.0)), Box::new(single(rest)?)))
        }
        Some('(') => {
            skip(rest, 1);
            let inner = comparison(rest)?;
            expect(rest, ')')?;
            Ok(inner)
        }
        Some(first) if first.is_ascii_digit() => {
            let text = word(rest, |next| next.is_ascii_digit() || next == '.');
            text.parse().map(Expression::Number).map_err(|_| format!("{text:?} is not a number"))
        }
        Some(first) if first.is_alphabetic() => {
            let name = word(rest, |next| next.is_alphanumeric() || next == '_');
            if rest.starts_with('(') {
                arguments(rest).map(|all| Expression::Call(name, all))
            } else {
                Ok(Expression::Parameter(name))
            }
        }
        Some(_) => Err(format!("unexpected: {rest:?}")),
        None => Err("the expression ends too early".to_string()),
    }
}

/// `(expression, …)`
fn arguments<'a>(rest: &mut &'a str) -> Result<Vec<Expression<'a>>, String> {
    let mut all = Vec::new();
    skip(rest, 1);
    while !rest.starts_with(')') {
        if !all.is_empty() {
            expect(rest, ',')?;
        }
        all.push(comparison(rest)?);
    }
    skip(rest, 1);
    Ok(all)
}

fn expect(rest: &mut &str, wanted: char) -> Result<(), String> {
    if !rest.starts_with(wanted) {
        return Err(format!("{wanted:?} is missing before {rest:?}"));
    }
    skip(rest, wanted.len_utf8());
    Ok(())
}

/// Takes as many characters as belong to a word.
fn word<'a>(rest: &mut &'a str, belongs: fn(char) -> bool) -> &'a str {
    let end = rest.find(|next| !belongs(next)).unwrap_or(rest.len());
    let word = &rest[..end];
    skip(rest, end);
    word
}

/// Leaves out so many bytes, and the white space behind them.
fn skip(rest: &mut &str, bytes: usize) {
    *rest = rest[bytes..].trim_start();
}
