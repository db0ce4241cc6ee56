"""``python -m percbal``, and what ``accelerate launch -m percbal`` runs on every process."""

from percbal.cli.main import main

if __name__ == "__main__":
    main()
