"""``mlops-nb completion``: what makes the Tab key work."""

from __future__ import annotations

import click

from mlops_nb.cli.frame import debug_option, examples

VARIABLE = "_MLOPS_NB_COMPLETE"


@click.command(
    epilog=examples(
        'bash:  eval "$(mlops-nb completion bash)"            in ~/.bashrc',
        'zsh:   eval "$(mlops-nb completion zsh)"             in ~/.zshrc',
        "fish:  mlops-nb completion fish > ~/.config/fish/completions/mlops-nb.fish",
    )
)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@debug_option
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print what makes the Tab key complete commands and runs."""
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    if maker is None:  # pragma: no cover - click has all three
        raise click.UsageError(f"No completion for {shell}.")
    click.echo(maker(context.find_root().command, {}, "mlops-nb", VARIABLE).source())
