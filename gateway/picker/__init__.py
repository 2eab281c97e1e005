"""The reference endpoint picker: an ext_proc server that answers as the real EPP does, runnable without it.

Layers, each importing only what stands before it:
    compat, errors, durations, gojson      what differs between EPP releases; errors; Go's forms of data
    endpoints, request                     what a decision is about
    scorers, filters, pickers, prefix, inflight, saturation      pure functions and small state machines
    plugins, config, loader                an EndpointPickerConfig becomes a Scheduler
    scheduler, flowcontrol, director       one request, from body to pick
    wire, conversation, server             ext_proc and health over gRPC: the only place that knows protobuf
    promtext, scrape, discovery            where metrics and endpoints come from
    telemetry, exposition, decisions       what is told to the outside
"""
