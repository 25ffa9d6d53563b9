//! The integration tests: one binary, so that it is linked once. Each module is about one part of the system.

mod accounts;
mod audit;
mod closing;
mod closing_cluster;
mod consumer_faults;
mod consumer_poison;
mod embedded_log;
mod http_bad_input;
mod http_buyers;
mod http_operators;
mod http_protocol;
mod log_conformance;
mod log_rabbitmq;
mod mixed_releases;
mod order_lists;
mod own_list;
mod ownership_cluster;
mod partition_faults;
mod projection;
mod sale;
mod spikes;
mod startup;
mod store;
mod store_upgrade;
mod support;
mod traces;
