"""What makes written objects true: namespaces, owners, workloads, services, gateways."""
