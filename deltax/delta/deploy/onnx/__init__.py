"""Programs of JAX as ONNX models."""

from deltax.delta.deploy.onnx.program import Port, to_onnx

__all__ = ['Port', 'to_onnx']
