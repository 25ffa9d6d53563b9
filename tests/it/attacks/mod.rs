//! What is tried against such systems, and the answer that each attempt gets from a real server: the OWASP API Security Top 10 of 2023,
//! tricks with tokens of our own, guessing of passwords, floods. What is tried against tokens of other issuers is tested beside them.

mod floods;
mod guessing;
mod owasp;
mod tokens;
