"""Hands on questions about Inferneo and their answers.

A question is a pattern: each `{a|b}` becomes one of its choices, so a few lines make many ways to ask.
"""

# ruff: noqa: E501 - one line per question pattern reads best as a table.

HOW = "{how do i|how can i|how to|how do you|how does one|how would i|what is the way to|tell me how to|show me how to|explain how to|what do i do to|i want to|i need to}"
IT = "{inferneo|inferneo|the server|it|the inferneo server}"
SRV = "{inferneo|the server|inferneo-server|the inferneo server}"
IN = "{| in inferneo| with inferneo| here| on the server| for inferneo}"
WHAT = "{what is|what's|what exactly is|tell me about|describe|explain|what do you know about|can you explain}"
WHICH = "{what|which}"
LIST = "{what are the|which are the|list the|tell me the|name the|what}"

# (patterns of the question, the answer): about the project and the model.
ABOUT: list[tuple[list[str], str]] = [
    ([f"{WHAT} inferneo", "inferneo", "what does inferneo do", "{in short|briefly|in one sentence}, what is inferneo", "what is the inferneo {project|server}", "give me a {short |}{summary|description|overview} of inferneo", "what kind of {software|program|project|server} is inferneo"],
     "Inferneo is an OpenAI-compatible inference server over vLLM with a typed Python client."),
    (["why {should i|would i|would anyone} use inferneo", "what is inferneo {good for|for|used for}", "what {are the advantages|is the benefit|are the benefits|is the advantage} of inferneo", "what makes inferneo {good|useful|special|different}", "why inferneo"],
     "Inferneo serves language models behind OpenAI's API: a program written for the OpenAI SDK works when you change its base URL. Keys, limits, metrics and draining are included."),
    (["who are you", "what are you", "{introduce|describe} yourself", "what is your name", "tell me about yourself", "what model {are you|is this|am i talking to}", "which model {are you|is this|answers me|am i using}", "who am i talking to", "are you {chatgpt|gpt|a human|a robot|llama|an ai}", "{what is|what's} inferneo-tiny", "your name"],
     "I am inferneo-tiny, the small demo model that ships with Inferneo."),
    (["how {big|large|small} are you", "how many parameters {do you have|does {this|the} model have|does inferneo-tiny have}", "what is your size", "{what is|tell me} your parameter count", "what size is {the|this} model"],
     "I have about 6.5 million parameters, which is very small for a language model."),
    (["{what is|how {long|large|big} is} {your|the} context{| length| window| size}", "how many tokens {can you read|fit into your context|can you take|of context do you have}", "what is {the|your} {maximum|max} {context|prompt} {length|size}"],
     "My context is 16,384 tokens."),
    (["how were you {trained|made|built|created}", "what were you trained on", "who {trained|made|built|created} you", "where {do you|does the model} come from", "what is your training data", "how was {this|the|the demo|the embedded} model trained"],
     "I was trained from scratch by tools/train_tiny_model.py on text that the script writes itself."),
    (["what can you do", "what {are your abilities|are you able to do|can i ask you|do you know|can you help {me |}with}", "how can you help{| me}", "what are you good at", "what can this model do", "help", "what questions can you answer"],
     "I can answer questions about Inferneo, call tools, think before I answer and write small JSON documents. I am a demo, so please keep it simple."),
    (["what can you not do", "what are your {limits|limitations|weaknesses}", "can i use {you|this model} in production", "are you {smart|intelligent|reliable|always right|good}", "can i {trust|rely on} {you|your answers}", "do you make mistakes", "what is the {demo|tiny|embedded} model {not |}good for"],
     "I am a small demo model and a test fixture: I know little besides Inferneo and I make mistakes. Serve a larger model for real work."),
    (["what {license|licence} does inferneo {have|use}", "{what is|what's} the {license|licence}{| of inferneo}", "under {which|what} {license|licence} is inferneo", "is inferneo {open source|free|free to use|free software}", "can i use inferneo {commercially|for free}", "inferneo {license|licence}"],
     "Inferneo is free software under the Apache-2.0 licence."),
    ([f"{WHICH} {{version of python|python version|python}} {{do i need|is required|is needed|does inferneo need|does it need|is supported|does inferneo support|does inferneo require}}", "does inferneo {work|run} {on|with} python 3", "what are the requirements{| of inferneo}", "python version"],
     "Inferneo needs Python 3.11 or newer."),
    ([f"{LIST} packages{{| of inferneo| in inferneo}}{{| are there}}", f"{WHICH} packages {{does inferneo have|are there|does inferneo consist of}}", "how is inferneo {structured|split up|organised|organized}", "how many packages {does inferneo have|are there}", "{what are|what is the difference between} inferneo-core, inferneo-server and inferneo-client"],
     "Inferneo has three packages: inferneo-core (the wire contract), inferneo-server (the server) and inferneo-client (the Python client)."),
    ([f"{WHAT} inferneo-core", "what does inferneo-core do", "what is in {inferneo-core|the core package}", "what is the core package for"],
     "inferneo-core is the wire contract: the request and response types, the errors and the stream codecs. It does no I/O."),
    ([f"{WHAT} inferneo-server", "what does inferneo-server do", "what is the server package{| for}"],
     "inferneo-server is the server: it serves models over REST, server-sent events and WebSocket."),
    ([f"{WHAT} {{inferneo-client|the client|the python client|the inferneo client|the sdk}}", "what does inferneo-client do", "is there a {python client|client|python sdk|client library}", "does inferneo have a {client|python client|sdk}"],
     "inferneo-client is the typed Python client. It has a synchronous class, Inferneo, and an asynchronous one, AsyncInferneo."),
    (["what is inferneo {built with|made of|built on|written with|based on}", f"{WHICH} {{framework|web framework|libraries|frameworks}} {{does inferneo use|is used|are used|does the server use}}", "what technology {does inferneo use|is inferneo built on}", "how is {inferneo|the server} {built|made|implemented}", "does inferneo use {fastapi|litestar|msgspec|uvicorn|flask}"],
     "The server is built with Litestar, msgspec and uvicorn."),
    ([f"{WHAT} vllm", "what does vllm do", "vllm"],
     "vLLM is a fast engine for running large language models. Inferneo serves models through it."),
    (["is inferneo compatible with {openai|the openai api|the openai sdk}", "is {it|inferneo} openai{-| }compatible", "does inferneo {speak|support|implement|follow} {the openai api|openai's api|openai}", "what does openai-compatible mean"],
     "Yes. A program written for the OpenAI SDK works with Inferneo when you change its base_url."),
    (["does inferneo {work|run} {offline|without internet|without the internet}", "do i need {the |}internet{| to run it}", "can i {use|run} {it|inferneo} offline"],
     "Yes. The embedded model ships with the package, so the server starts and answers without internet."),
    (["do i need a gpu", "does inferneo {need|require} a gpu", "can {it|inferneo} run {on a cpu|without a gpu|on my laptop}", "does {it|inferneo} work on {cpu|a cpu|a laptop}"],
     "No. The embedded model runs on a CPU; larger models want a GPU."),
]  # fmt: skip

# About running the server.
RUNNING: list[tuple[list[str], str]] = [
    ([f"{HOW} {{start|run|launch|serve|boot|start up|get started with|begin with|set up|try}} {IT}", "{start|run|launch} {inferneo|the server}", "what {command|make target} starts {inferneo|the server}", "which command do i {run|use} to start {inferneo|the server}", "how is {inferneo|the server} started", "getting started{| with inferneo}", "quickstart", "what does make serve do", "what is make serve"],
     "Run `make serve`. It installs everything and serves the embedded model on http://127.0.0.1:8000."),
    ([f"{HOW} {{install|set up and install}} {{inferneo|it}}", "install inferneo", "what is the install command", "how is inferneo installed"],
     "Run `make serve`: it installs everything and starts the server. On a GPU host, run `pip install 'inferneo-server[vllm]'`."),
    ([f"{HOW} {{install|use|run}} {{inferneo|it|vllm|the server}} {{on|with}} {{a gpu|a gpu host|gpus|a gpu machine|my gpu|cuda}}", "install {on a gpu|for gpu|with vllm}", "what do i install on a gpu host", "gpu install", "how do i get the vllm extra"],
     "On a GPU host, run `pip install 'inferneo-server[vllm]'`."),
    ([f"{HOW} run {{the tests|all tests|the test suite|tests}}", f"{HOW} test {{inferneo|it|the project}}", "{what|which} command runs the tests", "what does make test do", "run the tests"],
     "Run `make test`. It runs all tests."),
    ([f"{HOW} {{run the benchmarks|run a benchmark|benchmark inferneo|measure the speed|benchmark it|compare it with vllm}}", "what does make bench do", "{what|which} command runs the benchmarks", "how fast is inferneo", "is inferneo faster than vllm"],
     "Run `make bench`. It compares Inferneo with vLLM's own server."),
    ([f"{HOW} {{change|set|choose|use another|use a different|pick}} {{the |}}port{IN}", "how do i {run|start|serve} {it|inferneo|the server} on port {8123|9000|8080|5000}", "can i change the port", "{change|set} the port", "{the|my} port {8000 |}is {in use|taken|busy}", f"{HOW} pass {{flags|arguments|options}}{{| to the server| to make serve}}"],
     "Pass flags through ARGS: `make serve ARGS=\"--port 8123\"`."),
    (["what {port|address} does {inferneo|the server|it} {use|listen on|run on}", "what is the {default|standard} {port|address|url}", "where does the server listen", "on which {port|address} does {it|inferneo} {run|listen}", "what is the {url|address} of the server", "default port"],
     "By default the server listens on http://127.0.0.1:8000."),
    ([f"{HOW} {{change|set|choose}} {{the |}}{{host|bind address}}{IN}", f"{HOW} {{listen on all {{interfaces|addresses}}|expose the server|make the server reachable from {{other machines|the network|outside}}}}", "can other machines {reach|use} {it|the server|inferneo}"],
     "Start the server with `--host 0.0.0.0` to listen on all addresses, and set a key, since it is then reachable from outside."),
    ([f"{HOW} {{serve|use|load|run|host|start}} {{another|a different|my own|my|a hugging face|a larger|a bigger|some other|a local}} {{model|llm}}{IN}", f"{HOW} {{change|switch|choose|set}} {{the|a}} model", "can i {use|serve} {llama|qwen|mistral|another model|my own model|other models}", "serve another model", "{which|what} models {can i serve|can inferneo serve|does inferneo support|are supported|can i use}"],
     "Run `inferneo-server serve --model <hub id or path>`, with any model that vLLM can run."),
    ([f"{LIST} {{flags|command line flags|options|command line options|command-line flags|cli flags}}{{| of the server| are there| does the server take| of inferneo-server}}", f"{WHICH} {{flags|options|arguments}} {{are there|does the server take|does inferneo-server have|can i pass}}"],
     "The main flags are `--host`, `--port`, `--model`, `--engine` and `--config`."),
    ([f"{HOW} {{configure|set up the configuration of|change the settings of|set options for}} {SRV}", "where {are|do i put} {the |}settings", "{which|what} {settings|configuration} {are there|does inferneo have}", f"{HOW} change {{a setting|settings|the configuration}}", "configuration", "{what are|tell me about} {the |}settings"],
     "Every setting is a flag, an environment variable that starts with INFERNEO_, or a line of config.yaml."),
    ([f"{HOW} {{use|set}} {{an |}}environment variable{{|s}}{IN}", f"{WHICH} environment variables {{are there|does inferneo read|does it use|can i set}}", "{what is|explain} INFERNEO_PORT", "environment variables", f"{HOW} set {{the port|a setting|settings}} {{by|with|through|from}} {{the environment|an environment variable}}"],
     "Every setting is also an environment variable that starts with INFERNEO_: for example, INFERNEO_PORT=8123 sets the port."),
    ([f"{HOW} use {{a |}}{{config file|config.yaml|configuration file|yaml file}}{IN}", "{what is|tell me about|explain} {config.yaml|the config file|--config}", "is there a {config|configuration} file", "where is the config{| file}", "what goes into config.yaml", "config.yaml"],
     "Write your settings into config.yaml and start the server with `--config config.yaml`."),
    ([f"{LIST} engines{{| are there| of inferneo| does inferneo have}}", f"{WHICH} engines {{are there|does inferneo have|can i use|are supported|does inferneo support|can i choose}}", f"{HOW} {{choose|change|select|pick|switch}} {{an|the}} engine", "what does --engine do", "engines"],
     "There are three engines: vllm, torch and simulated. Choose one with `--engine`."),
    ([f"{WHAT} the simulated engine", "what {does the simulated engine do|is the simulated engine for}", "when do i use the simulated engine"],
     "The simulated engine runs no model: it answers with scripted text and timing, for unit tests and load tests."),
    ([f"{WHAT} the torch engine", "what {does the torch engine do|is the torch engine for}", "when do i use the torch engine"],
     "The torch engine runs models with PyTorch and transformers, on hosts where vLLM does not run."),
    ([f"{WHAT} the vllm engine", "what {does the vllm engine do|is the vllm engine for}", "which engine {is best|should i use}", "when do i use the vllm engine"],
     "The vllm engine is the real engine: it runs models with vLLM on GPUs and on CPUs."),
    ([f"{HOW} {{pass|set|give|configure|change|use}} {{engine arguments|vllm arguments|vllm options|vllm's engine arguments|engine_args|arguments to vllm|options for vllm}}", "{where do|how do} {engine|vllm} arguments go", "what is engine_args", "how do i set {tensor_parallel_size|gpu_memory_utilization|max_model_len|the tensor parallel size}", "engine arguments"],
     "Put vLLM's engine arguments under `engine_args:` in config.yaml."),
    ([f"{HOW} {{stop|shut down|terminate|end|quit|kill|turn off}} {IT}", "stop the server", "what does {ctrl-c|sigterm|a second signal} do", "how does {the shutdown|shutdown|shutting down} work", "what happens {when i press ctrl-c|on sigterm|when the server stops}", f"{HOW} restart {{the server|inferneo}} without losing requests"],
     "Press Ctrl-C or send SIGTERM: the server finishes the running requests and stops. A second signal forces it."),
    (["what does drain{|ing} mean", "what is drain{|ing}", f"{HOW} drain {{the server|requests}}", "are running requests {lost|finished|dropped} {on|at|when i} {shutdown|stop}"],
     "Draining means that the server takes no new requests and finishes the running ones before it stops."),
    (["does it {support|work with|run in} {docker|kubernetes}", "does inferneo {support|work with|run in} {docker|kubernetes}", f"{HOW} deploy {{it|inferneo}}"],
     "Run `inferneo-server serve` under any process manager, set a key, and let it watch /ready and /health."),
]  # fmt: skip
