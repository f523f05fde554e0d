//! Language models: the client against real servers that fail by order, and the whole way of a question
//! over HTTP, from a drift that nothing else answers to a second one that the past does.

mod client;
mod journey;
