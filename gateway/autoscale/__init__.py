"""HorizontalPodAutoscalers: as Kubernetes' controller computes them, and as a loop."""
