# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_mcp_bridged_global_optspecs
    string join \n c/config= log-format= log-level= ports-file= h/help V/version
end

function __fish_mcp_bridged_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_mcp_bridged_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_mcp_bridged_using_subcommand
    set -l cmd (__fish_mcp_bridged_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -l log-format -d 'How log lines look; by default the file\'s `log.format`, else text on a terminal and JSON otherwise' -r -f -a "auto\t'Text on a terminal, JSON otherwise'
text\t'Text, coloured on a terminal'
json\t'One JSON object a line'"
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -l log-level -d 'What is logged: a level, or directives such as `info,mcp_bridged=debug`' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -l ports-file -d 'Write the addresses of all listeners to this file, as JSON, once they are bound' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -s V -l version -d 'Print version'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "serve" -d 'Serve the bridges of a configuration file (the default)'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "check" -d 'Check a configuration file and its commands; starts nothing'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "run" -d 'Serve one server without a configuration file'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "tools" -d 'List the tools of a bridge, of the gateway, or of any MCP server by its URL'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "call" -d 'Call a tool of a bridge, of the gateway, or of any MCP server by its URL'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "status" -d 'Show what runs: states, processes, sessions, calls, last exits'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "logs" -d 'Show what servers wrote to stderr and what happened to them'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "restart" -d 'Drain bridges and start their servers anew'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "reload" -d 'Have the daemon read its configuration again'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "probe" -d 'Try servers as a client would, step by step: an acceptance for scripts and archives'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "import" -d 'Make a bridges.yaml of what other programs call their MCP servers'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "export" -d 'Print what a client\'s own configuration has to say to use the bridges'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "schema" -d 'Print the JSON Schema of bridges.yaml, for editors'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "completions" -d 'Print a shell\'s completions'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "man" -d 'Print the manual page'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "demo-server" -d 'Be a small MCP server on stdin and stdout, to have something to serve'
complete -c mcp-bridged -n "__fish_mcp_bridged_needs_command" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand serve" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand serve" -l log-format -d 'How log lines look; by default the file\'s `log.format`, else text on a terminal and JSON otherwise' -r -f -a "auto\t'Text on a terminal, JSON otherwise'
text\t'Text, coloured on a terminal'
json\t'One JSON object a line'"
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand serve" -l log-level -d 'What is logged: a level, or directives such as `info,mcp_bridged=debug`' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand serve" -l ports-file -d 'Write the addresses of all listeners to this file, as JSON, once they are bound' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand serve" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand check" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand check" -l json -d 'Print the result as JSON'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand check" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -s p -l port -d 'The port to serve it on' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -l host -d 'The address to serve it on' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -l name -d 'The bridge\'s name [default: the program\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -l log-format -d 'How log lines look; by default the file\'s `log.format`, else text on a terminal and JSON otherwise' -r -f -a "auto\t'Text on a terminal, JSON otherwise'
text\t'Text, coloured on a terminal'
json\t'One JSON object a line'"
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -l log-level -d 'What is logged: a level, or directives such as `info,mcp_bridged=debug`' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -l ports-file -d 'Write the addresses of all listeners to this file, as JSON, once they are bound' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand run" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand tools" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand tools" -l key -d 'The key to present. Others see it in the list of processes, in the variable MCP_BRIDGED_KEY they don\'t [default: MCP_BRIDGED_KEY, else the bridge\'s first key in the configuration]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand tools" -l json -d 'Print the server\'s own JSON, {"tools": [...]}, with nothing lost'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand tools" -s h -l help -d 'Print help'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -l key -d 'The key to present. Others see it in the list of processes, in the variable MCP_BRIDGED_KEY they don\'t [default: MCP_BRIDGED_KEY, else the bridge\'s first key in the configuration]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -l save -d 'Where images and other files of the result go [default: the current directory]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -l timeout -d 'How long each answer may take, such as 500ms, 60s or 10m' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -l json -d 'Print the server\'s own JSON, with nothing lost'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -l table -d 'Print a list of JSON objects as a table also where no terminal is'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand call" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -l admin -d 'Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -l key -d 'The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -s w -l watch -d 'Refresh it, every two seconds unless another time is given' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -l json -d 'Print it as JSON'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand status" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -s n -l lines -d 'How many of the last lines' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -l admin -d 'Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -l key -d 'The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -s f -l follow -d 'Go on with what is written from now on'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -l json -d 'Print a JSON object a line'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand logs" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -l timeout -d 'How long to wait for each, draining included' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -l admin -d 'Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -l key -d 'The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -l no-wait -d 'Don\'t wait until they are ready'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand restart" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -l timeout -d 'How long to wait for each, draining included' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -l admin -d 'Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -l key -d 'The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -l no-wait -d 'Don\'t wait until servers that start are ready'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -l json -d 'Print the outcome as JSON, and wait for nothing'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand reload" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l call -d 'A tool to call' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l args -d 'Its arguments, a JSON object' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l expect -d 'A tool that must be listed; may be given several times' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l log -d 'Append a log of it to this file, with times, the catalogue and the result' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l timeout -d 'How long each step may take' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l key -d 'The key to present [default: MCP_BRIDGED_KEY, else the bridge\'s first key in the configuration]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -l json -d 'Print the outcome as JSON'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand probe" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand import" -l supergateway -d 'A command line that runs supergateway, as one argument' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand import" -l first-port -d 'The port of the first bridge; the others get those after it' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand import" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -l client -d 'For whom' -r -f -a "litellm\t'LiteLLM\'s config.yaml'
codex\t'Codex\'s config.toml'
vscode\t'VS Code\'s mcp.json'
claude\t'Claude Code\'s .mcp.json'
open-webui\t'Open WebUI\'s environment, for compose.yaml'
inspector\t'A session file of the MCP Inspector'"
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -l host -d 'The name under which clients reach this machine, for bridges that listen on all addresses' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -l transport -d 'The transport to use [default: sse for LiteLLM, else http]' -r -f -a "http\t'Streamable HTTP'
sse\t'HTTP+SSE'"
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -s c -l config -d 'The configuration [default: ./bridges.yaml, else /etc/mcp-bridged/bridges.yaml]' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -l admin -d 'Where the daemon answers: the path of its admin socket, or the URL of its admin listener [default: as the configuration says]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -l key -d 'The key of the admin listener; its socket wants none [default: MCP_BRIDGED_KEY, else the configuration\'s]' -r
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand export" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand schema" -s h -l help -d 'Print help'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand completions" -s h -l help -d 'Print help'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand man" -l dir -d 'Write this page and one for each command into a directory instead' -r -F
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand man" -s h -l help -d 'Print help'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand demo-server" -s h -l help -d 'Print help'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "serve" -d 'Serve the bridges of a configuration file (the default)'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "check" -d 'Check a configuration file and its commands; starts nothing'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "run" -d 'Serve one server without a configuration file'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "tools" -d 'List the tools of a bridge, of the gateway, or of any MCP server by its URL'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "call" -d 'Call a tool of a bridge, of the gateway, or of any MCP server by its URL'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "status" -d 'Show what runs: states, processes, sessions, calls, last exits'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "logs" -d 'Show what servers wrote to stderr and what happened to them'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "restart" -d 'Drain bridges and start their servers anew'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "reload" -d 'Have the daemon read its configuration again'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "probe" -d 'Try servers as a client would, step by step: an acceptance for scripts and archives'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "import" -d 'Make a bridges.yaml of what other programs call their MCP servers'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "export" -d 'Print what a client\'s own configuration has to say to use the bridges'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "schema" -d 'Print the JSON Schema of bridges.yaml, for editors'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "completions" -d 'Print a shell\'s completions'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "man" -d 'Print the manual page'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "demo-server" -d 'Be a small MCP server on stdin and stdout, to have something to serve'
complete -c mcp-bridged -n "__fish_mcp_bridged_using_subcommand help; and not __fish_seen_subcommand_from serve check run tools call status logs restart reload probe import export schema completions man demo-server help" -f -a "help" -d 'Print this message or the help of the given subcommand(s)'
