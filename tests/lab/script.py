"""The program of the console story: asks for a sum on the laptop's queue and says who worked it out."""

from tasks import add

result = add.apply_async((2, 2), queue="laptop_task")
print(result.get(timeout=20), "run on", result.node)
