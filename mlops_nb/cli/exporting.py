"""``mlops-nb export``: a notebook as what runs it elsewhere."""

from __future__ import annotations

from pathlib import Path

import click

from mlops_nb.cli.frame import examples, shared_options, write_view


@click.command(
    epilog=examples(
        'mlops-nb export train.ipynb --to github --cron "0 6 * * 1" --tz Europe/Brussels -o .',
        "mlops-nb export train.ipynb --to systemd --cron @daily -o ~/.config/systemd/user",
        'mlops-nb export train.ipynb --to cron --cron "30 2 * * *" -p C=0.5',
    )
)
@click.argument("notebook", type=click.Path(path_type=Path))
@click.option(
    "--to",
    required=True,
    metavar="github|cron|systemd",
    help="What runs it there; other packages may add more.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    help="A folder, or the file if there is one alone. [default: standard output]",
)
@click.option("--cron", metavar="CRON", help="Five fields as in crontab, or @daily.")
@click.option("--tz", metavar="ZONE", help="As Europe/Brussels. [default: this machine's]")
@click.option("--param", "-p", "pairs", multiple=True, metavar="NAME=VALUE", help="A parameter.")
@click.option("--name", help="What to call it there. [default: the notebook's name]")
@click.option(
    "--missed",
    type=click.Choice(("skip", "once", "all")),
    default="once",
    show_default=True,
    help="Times at which the machine was off.",
)
@click.option("--force", is_flag=True, help="Overwrite files that are there.")
@shared_options
def export(
    notebook: Path,
    to: str,
    output: Path | None,
    cron: str | None,
    tz: str | None,
    pairs: tuple[str, ...],
    name: str | None,
    missed: str,
    force: bool,
    format_: str,
    store: str | None,
) -> None:
    """Write NOTEBOOK (or a pipeline's folder) as a workflow, a line of cron, or systemd units."""
    from mlops_nb.api.exporting import export_notebook
    from mlops_nb.schedule.making import as_params

    view = export_notebook(
        notebook,
        to,
        output=output,
        cron=cron,
        tz=tz,
        params=as_params(pairs),
        name=name,
        missed=missed,
        store=store,
        force=force,
    )
    if output is None and format_ == "table":
        # The files as they are, so that they can be piped; what is about them stands beside.
        for file in view.exported.files:
            if len(view.exported.files) > 1:
                click.echo(f"# --- {file.path}")
            click.echo(file.text, nl=False)
        for said in (*view.exported.notes, *(f"then: {step}" for step in view.exported.next)):
            click.echo(said, err=True)
        return
    write_view(view, format_)
