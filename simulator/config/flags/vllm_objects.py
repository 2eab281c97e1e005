"""The fields of the JSON objects that options of `vllm serve` 0.33 take; any other is refused.

Types: s text, i integer, n number, b boolean, a list, o object, 0 null, x anything; behind a colon the texts
that there may be.
"""

from __future__ import annotations

OBJECTS = """
quantization-config: linear=x moe=x ignore=x targets=x
pooler-config: task=0:embed|classify|token_embed|token_classify|plugin|embed&token_classify
    pooling_type=0:CLS|LAST|MEAN|ALL|STEP seq_pooling_type=0:CLS|LAST|MEAN tok_pooling_type=0:ALL|STEP
    use_activation=0b enable_flash_late_interaction=b dimensions=0i enable_chunked_processing=b
    max_embed_len=0i logit_mean=0n logit_sigma=0n step_tag_id=0i returned_token_ids=0a
eplb-config: window_size=i step_interval=i num_redundant_experts=i log_balancedness=b
    log_balancedness_interval=i use_async=b policy=:default
    communicator=0:torch_nccl|torch_gloo|torch_xccl|nixl|pynccl enable_migration_batching=b
fault-tolerance-config: engine_recovery_timeout_sec=i
logging-config: log_level=:CRITICAL|ERROR|WARNING|INFO|DEBUG|NOTSET formatter=:text|json
    configure_logging=b pylogging_config_file=0s
ir-op-priority: rms_norm=a fused_add_rms_norm=a gelu_and_mul_sparse=a
kv-transfer-config: kv_connector=0s engine_id=0s kv_buffer_device=s
    kv_role=0:kv_producer|kv_both|kv_consumer kv_port=i kv_connector_extra_config=o
    kv_connector_module_path=0s enable_permute_local_kv=b kv_load_failure_policy=:recompute|fail
kv-events-config: enable_kv_cache_events=b publisher=:null|zmq endpoint=s replay_endpoint=0s
    buffer_steps=i hwm=i max_queue_size=i topic=s
ec-transfer-config: ec_connector=0s engine_id=0s ec_buffer_device=0s ec_buffer_size=n
    ec_role=0:ec_producer|ec_both|ec_consumer ec_ip=s ec_port=i ec_connector_extra_config=o
    ec_connector_module_path=0s
ec-manager-config: encoder_cache_manager_cls=0s manager_config=o
compilation-config: mode=0i:NONE|STOCK_TORCH_COMPILE|DYNAMO_TRACE_ONCE|VLLM_COMPILE debug_dump_path=0s
    cache_dir=s compile_cache_save_format=:binary|unpacked backend=s custom_ops=a ir_enable_torch_wrap=b
    splitting_ops=0a compile_mm_encoder=b cudagraph_mm_encoder=b encoder_cudagraph_token_budgets=a
    encoder_cudagraph_max_vision_items_per_batch=i encoder_cudagraph_max_frames_per_batch=0i
    cudagraph_decoder_replay=b decoder_replay_cudagraph_capture_sizes=a decoder_replay_trim_threshold=i
    compile_sizes=0a compile_ranges_endpoints=0a inductor_compile_config=o inductor_passes=o
    cudagraph_mode=x cudagraph_num_of_warmups=i cudagraph_capture_sizes=a cudagraph_copy_inputs=b
    cudagraph_specialize_lora=b use_inductor_graph_partition=b pass_config=o
    max_cudagraph_capture_size=i dynamic_shapes_config=o fast_moe_cold_start=0b
attention-config: backend=0x minimax_m3_msa_decode_backend=:triton|cutlass backend_per_kind=o
    flash_attn_version=0x flash_attn_max_num_splits_for_cuda_graph=i tokenspeed_mla_min_split_kv=i
    tq_max_kv_splits_for_cuda_graph=i use_trtllm_attention=0b disable_flashinfer_q_quantization=b
    mla_prefill_backend=0x use_prefill_query_quantization=b trtllm_ragged_backend=:trtllm-gen|cute-dsl
    indexer_kv_dtype=s:auto|bf16|fp8|mxfp4|nvfp4 indexer_sparse_logits=b indexer_tp_shard_min_rows=i
    minimax_m3_indexer_cp=b hisparse_config=0o use_non_causal=b sparse_mla_force_mqa=b
    sparse_mla_prefill_workspace_factor=0i flex_attn_block_m=0i flex_attn_block_n=0i
    flex_attn_q_block_size=0i flex_attn_kv_block_size=0i
engram-config: cpu_offload=b embedding_across_dp=b dp_shared_memory=0b use_thp=b
reasoning-config: reasoning_parser=s reasoning_start_str=s reasoning_end_str=s
kernel-config: ir_op_priority=o enable_flashinfer_autotune=b enable_rocm_segmented_attn_autotune=b
    enable_cutedsl_warmup=b enable_jit_warmup=b monokernel=b
    moe_backend=:auto|triton|batched_triton|deep_gemm|deep_gemm_mega_moe|cutlass|flashinfer_trtllm|flashinfer_cutlass|flashinfer_cutedsl|flashinfer_moe_ep_cutedsl|flashinfer_b12x|b12x|flashinfer_moe_ep_mega_deep_gemm|marlin|humming|triton_unfused|aiter|aiter_mega_moe|aiter_triton_mxfp4_bf16|aiter_triton_mxfp4_mxfp4|flydsl|hpc|emulation|rdna3
    sparse_indexer_topk_backend=:auto|deep_select|cooperative|persistent|per_row|flashinfer|torch|aiter
    linear_backend=:auto|cutlass|flashinfer_cutlass|flashinfer_cutedsl|flashinfer_trtllm|flashinfer_cudnn|flashinfer_b12x|b12x|marlin|humming|triton|deep_gemm|torch|aiter|machete|fbgemm|conch|exllama|emulation|xpu|xpu_woq
    linear_backend_per_quant=0o
structured-outputs-config: backend=:auto|xgrammar|guidance|outlines|lm-format-enforcer
    disable_any_whitespace=b disable_additional_properties=b reasoning_parser=s
    reasoning_parser_plugin=s enable_in_reasoning=b
aux-output-config: enable_return_routed_experts=b max_bytes=0i
profiler-config: profiler=0:torch|cuda|proton torch_profiler_dir=s torch_profiler_activities=0a
    proton_profiler_dir=s proton_context=:shadow|python proton_data=:tree|trace proton_backend=0:cupti
    proton_mode=0s proton_hook=0:triton proton_output_format=0:hatchet|hatchet_msgpack|chrome_trace
    proton_graph_attribution=b torch_profiler_with_stack=b torch_profiler_with_flops=b
    torch_profiler_use_gzip=b torch_profiler_dump_cuda_time_total=b torch_profiler_record_shapes=b
    torch_profiler_with_memory=b capture_torch_profiler=b detailed_trace_annotation=b ignore_frontend=b
    delay_iterations=i max_iterations=i warmup_iterations=i active_iterations=i wait_iterations=i
watchdog-config: timeout=i check_interval=i dump_dir=s
weight-transfer-config: backend=s:nccl|ipc|sparse_nccl|sharded_rdt|nccl_m2n
"""
