# keras-cnns for one machine; docs/cluster/Dockerfile is the image of a cluster. From a checkout:
#   docker build --tag keras-cnns .
#   docker run --rm --user "$(id -u)" --volume "$PWD:/work" keras-cnns train lenet5-32 --data photos/ --image-size 32
FROM python:3.11-slim AS build
COPY . /src
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels /src

FROM python:3.11-slim
COPY constraints.txt /constraints.txt
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --constraint /constraints.txt /wheels/*.whl && rm -r /wheels
RUN useradd --create-home keras && install --directory --owner keras --mode 777 /work
# A user that is given by --user is not in the list of users, and has the same home folder.
ENV HOME=/home/keras USER=keras
RUN chmod 777 /home/keras
USER keras
WORKDIR /work
ENTRYPOINT ["keras-cnns"]
