"""`edgeworthy serve`: the same functions as the command line behind HTTP, and a page to try them on.

FastAPI describes and routes, uvicorn speaks HTTP, the Prometheus client counts; what a picture comes to is
said by `filemodel`, `images` and `predictor`, what a file comes to by `linter`, `inspector` and `repairer`.
"""
