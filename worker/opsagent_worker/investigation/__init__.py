"""What `investigate` tasks do: look (observe), make sense of it (orient), choose (decide). The handler acts."""
